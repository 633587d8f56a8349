"""Where the gradients of every registered loss go, and whether its entry says so.

The registry is what is walked: each loss with its defaults and with other values of each of its options. A loss whose
options stop a gradient, or that trains its target too, needs a plain formula here that says which of its tensors are
held fixed. (What passes through a formula of both sides is compared with central differences where the formula's own
reference is: test_losses_against_references, test_logits_family.)"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from every_loss import ENTRIES, Given, built, called, given, key, taps_of
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import TextkdError
from textkd.losses import Loss, as_loss, register
from textkd.losses.options import Option, fits

COMPARED = [entry for entry in ENTRIES if entry.needs_teacher]
SHARP = {"rtol": 1e-4, "atol": 1e-6}


def others(option: Option) -> list[Any]:
    """Other values of an option than its default, as far as its type lists them or numbers are near."""
    default = option.default
    if isinstance(default, bool):
        return [not default]
    if get_origin(option.annotation) is Literal:
        return [value for value in get_args(option.annotation) if value != default]
    if isinstance(default, int | float):
        near = [value for value in (0.0, 0, default / 2, default // 2, 2 * default, 0.5, 1)
                if value != default and fits(value, option.annotation)]  # fmt: skip
        return list(dict.fromkeys(near))
    return []


def variants(entry: Loss) -> Iterator[dict[str, Any]]:
    """The defaults; another value of each option; all values together of the options that say where a gradient goes."""
    yield {}
    for option in entry.options:
        yield from ({option.name: value} for value in others(option))
    flow = [option for option in entry.options if option.name in flow_names(entry)]
    for values in itertools.product(*([option.default, *others(option)] for option in flow)):
        yield {option.name: value for option, value in zip(flow, values, strict=True)}


def flow_names(entry: Loss) -> set[str]:
    return {*entry.gradient_options, *entry.stops_with}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def flow_of(entry: Loss, options: Mapping[str, Any], at: Given) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """(value, gradients of the student's taps, those of the target's): zeros where none comes."""
    module = built(entry, at, options)
    sides = [[tap.detach().clone().requires_grad_() for tap in taps_of(side)] for side in (at.student, at.teacher)]
    student, teacher = (side if entry.arity else side[0] for side in sides)
    value = called(entry, Given(student, teacher, at.mask, at.needs), module, options)
    leaves = [*sides[0], *sides[1]]
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    filled = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]
    return value.detach(), filled[: len(sides[0])], filled[len(sides[0]) :]


def flows(entry: Loss, at: Given) -> Iterator[tuple[dict[str, Any], Tensor, list[Tensor], list[Tensor]]]:
    """Every variant that can be computed on the small taps; the defaults always can."""
    for options in variants(entry):
        try:
            yield options, *flow_of(entry, options, at)
        except TextkdError:
            assert options, f"{key(entry)} with its defaults"


@pytest.mark.parametrize("entry", COMPARED, ids=key)
def test_a_gradient_gets_into_the_target_exactly_where_the_entry_says_so(entry: Loss) -> None:
    for progress in (0.0, 0.5) if "progress" in entry.needs else (None,):
        at = given(entry)
        at.needs |= {} if progress is None else {"progress": progress}
        for options, _, _, target in flows(entry, at):
            arrives = any(bool(g.any()) for g in target)
            if entry.target_gradient(options) == "stops":
                assert not arrives, options
            elif set(options) <= flow_names(entry) or not any(map(is_number, options.values())):
                assert arrives, options  # another number may switch a term off, or clamp it


@pytest.mark.parametrize("entry", COMPARED, ids=key)
def test_an_option_that_moves_gradients_but_not_the_value_is_told(entry: Loss) -> None:
    """And the others change the value, or nothing."""
    at, found = given(entry), set()
    _, value, student, target = next(flows(entry, at))
    for options, other, *sides in flows(entry, at):
        if len(options) == 1 and torch.allclose(other, value, **SHARP):
            both = zip(sides[0] + sides[1], student + target, strict=True)
            found |= set() if all(torch.allclose(*pair, **SHARP) for pair in both) else set(options)
    assert found == set(entry.gradient_options)


# Plain formulas, each a function of (student, target, the same held fixed, at, options, module): what it holds fixed it
# takes from `held`. Nothing of textkd is called.
Held = tuple[Tensor, Tensor]


def nll(z: Tensor, at: Given) -> Tensor:
    """[N] -log p of the labels, of the rows that count."""
    rows = F.cross_entropy(z.movedim(-1, 1), at.needs["labels"], reduction="none")
    return rows if at.mask is None else rows[at.mask]


def counted(rows: Tensor, at: Given) -> Tensor:
    return rows.mean() if at.mask is None else rows[at.mask].mean()


def plain_peer_kl(s: Tensor, t: Tensor, held: Held, at: Given, options: Any, _: Any) -> Tensor:
    t = held[1] if options["detach"] else t
    temperature = options["temperature"]
    p, q = (t / temperature).softmax(-1), (s / temperature).softmax(-1)
    return temperature**2 * counted((p * (p / q).log()).sum(-1), at)


def plain_apprentice(s: Tensor, t: Tensor, held: Held, at: Given, options: Any, _: Any) -> Tensor:
    target = (held[1] if options["detach"] else t).softmax(-1)
    soft = counted(-(target * s.log_softmax(-1)).sum(-1), at)
    return options["alpha"] * nll(t, at).mean() + options["beta"] * nll(s, at).mean() + options["gamma"] * soft


def plain_rocket(s: Tensor, t: Tensor, held: Held, at: Given, options: Any, _: Any) -> Tensor:
    hint = ((s - (held[1] if options["block"] else t)) ** 2).sum(-1)
    return nll(s, at).mean() + nll(t, at).mean() + options["gamma"] * counted(hint, at)


def vectors(x: Tensor, at: Given) -> Tensor:
    mask = at.mask.float()[..., None]
    return F.normalize((x * mask).sum(1) / mask.sum(1), dim=-1)


def scores(x: Tensor, query: Tensor, options: Any) -> list[Tensor]:
    """Of each query's ranking of the others: [B-1] each, in the order of the batch."""
    alpha, power, every = options["alpha"], options["power"], range(len(x))
    return [torch.stack([-alpha * (query[i] - x[j]).norm() ** power for j in every if j != i]) for i in every]


def orders(ordered: Tensor) -> Tensor:
    """log P of the order in which the scores stand."""
    return sum(ordered[i] - ordered[i:].logsumexp(0) for i in range(len(ordered)))  # type: ignore[return-value]


def sides_scores(s: Tensor, t: Tensor, held: Held, at: Given, options: Any) -> list[tuple[Tensor, Tensor]]:
    mine, own, its = vectors(s, at), vectors(held[0], at), vectors(t, at)
    query = mine if options["query_gradient"] else own
    return list(zip(scores(mine, query, options), scores(its, its, options), strict=True))


def plain_list_mle(s: Tensor, t: Tensor, held: Held, at: Given, options: Any, _: Any) -> Tensor:
    found = sides_scores(s, held[1], held, at, options)
    ranked = [mine[its.argsort(descending=True)[: options["length"]]] for mine, its in found]
    return -torch.stack([orders(scores_) for scores_ in ranked]).mean()


def plain_list_net(s: Tensor, t: Tensor, held: Held, at: Given, options: Any, _: Any) -> Tensor:
    values = []
    for mine, its in sides_scores(s, t, held, at, options):
        near = its.argsort(descending=True)[: options["length"]].tolist()
        listed = [list(order) for order in itertools.permutations(near)]
        values.append(-sum(orders(its[order]).exp() * orders(mine[order]) for order in listed))
    return torch.stack(values).mean()  # type: ignore[arg-type]


def plain_score_mse(s: Tensor, t: Tensor, held: Held, at: Given, options: Any, _: Any) -> Tensor:
    found = sides_scores(s, t, held, at, options)
    return torch.stack([((mine - its) ** 2).sum() for mine, its in found]).mean()


def reversed_fake(judge: Callable[[Tensor], Tensor], s: Tensor, fixed: Tensor, reversal: float) -> Tensor:
    """-log(1 - D(s)), of which the student gets the gradient times -reversal."""
    return (1 + reversal) * F.softplus(judge(fixed)) - reversal * F.softplus(judge(s))


def plain_logits_adversary(s: Tensor, t: Tensor, held: Held, at: Given, options: Any, module: Any) -> Tensor:
    judge = module.discriminator
    fake = reversed_fake(lambda x: judge(x)[..., 0], s, held[0], options["reversal"])
    apart = counted(F.softplus(-judge(t)[..., 0]) + fake + options["l1"] * (s - t).abs().sum(-1), at)
    return apart + options["classes"] * sum(nll(judge(x)[..., 1:], at).mean() for x in (t, s))


def plain_hidden_adversary(s: Tensor, t: Tensor, held: Held, at: Given, options: Any, module: Any) -> Tensor:
    mask = at.mask.float()[..., None]
    mine, its, own = ((x * mask).sum(1) / mask.sum(1) for x in (s, t, held[0]))
    judge = module.discriminator
    return (F.softplus(-judge(its)) + reversed_fake(judge, mine, own, options["reversal"])).mean()


PLAIN: dict[str, Callable[..., Tensor]] = {
    "logits-peer_kl": plain_peer_kl,
    "logits-apprentice": plain_apprentice,
    "logits-rocket": plain_rocket,
    "logits-adversarial": plain_logits_adversary,
    "hidden-adversarial": plain_hidden_adversary,
    "hidden-list_mle": plain_list_mle,
    "hidden-list_net": plain_list_net,
    "hidden-score_mse": plain_score_mse,
}
STEERED = [e for e in COMPARED if e.gradient_options or e.stops_with or e.to_target == "trains"]


@pytest.mark.parametrize("entry", STEERED, ids=key)
def test_both_gradients_are_those_of_a_plain_formula(entry: Loss) -> None:
    assert key(entry) in PLAIN, "a loss that says where a gradient goes needs a plain formula"
    tried = [options for options in variants(entry) if set(options) <= flow_names(entry)]
    assert len(tried) > 1
    at = given(entry)
    for options in tried:
        value, student, target = flow_of(entry, options, at)
        # in float64, so that the formula adds no rounding of its own
        s, t = (tap.double().requires_grad_() for tap in (at.student, at.teacher))
        held = at.student.double(), at.teacher.double()
        module = built(entry, at, options)
        module = module.double() if isinstance(module, torch.nn.Module) else module
        due = PLAIN[key(entry)](s, t, held, at, entry.all_options(options), module)
        torch.testing.assert_close(value, due.detach().float(), **SHARP)
        for found, leaf in ((student[0], s), (target[0], t)):
            (gradient,) = torch.autograd.grad(due, leaf, allow_unused=True, retain_graph=True)
            expected = torch.zeros_like(found) if gradient is None else gradient.float()
            # rounding in float32 goes with the largest element: small ones are differences of such
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6 * max(1.0, float(expected.abs().max())))


def test_labels_are_no_target_that_could_learn() -> None:
    for entry in (entry for entry in ENTRIES if not entry.needs_teacher):
        assert entry.target_gradient({}) == "stops", key(entry)


def mine(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, joint: bool = False) -> Tensor:
    return (student - teacher).square().mean()


def test_an_entry_that_contradicts_itself_is_refused() -> None:
    for words, said in (
        ({"to_target": "trains", "stops_with": {"detach": True}}, "detach"),
        ({"gradient_options": ("blok",)}, "blok"),
        ({"stops_with": {"joint": False}}, "to_target"),
        ({"distinct": True}, "arity"),
    ):
        with pytest.raises(TextkdError, match=said):
            register("mine", family="hidden", **words)(mine)  # type: ignore[arg-type]
    assert as_loss(mine, "hidden").target_gradient({}) == "passes"
