"""From matches to pairs: the taps of given models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from textkd import losses
from textkd.errors import Collector, Problem, problem
from textkd.losses import Loss
from textkd.models.taps import Anatomy, Tap
from textkd.objective.combine import combination, combine_problems
from textkd.objective.match import Match
from textkd.objective.match_checks import Comparison, comparison, tap_problems
from textkd.objective.pair import Pair
from textkd.objective.tap_pairs import Ends, Models, owned_ends, taps_of, written_ends


def bind(
    matches: Sequence[Match], trained: Mapping[str, Anatomy], frozen: Mapping[str, Anatomy], label_loss: str
) -> list[Pair]:
    """The pairs of all matches over these models.

    Args:
        matches: what is compared.
        trained: the models that learn, by name.
        frozen: the models that are only read, by name; without any, only losses that need no teacher work.
        label_loss: the loss of `labels` where a match names none; its targets are the task's.

    Raises:
        TextkdError: every problem of every match at once.
    """
    found, pairs, models = Collector(), list[Pair](), Models(trained, frozen)
    found.add(*models.problems())
    found.raise_any()
    for i, match in enumerate(matches):
        with found.collecting(f"[{i}]"):
            pairs.extend(replace(pair, place=f"[{i}]") for pair in _bind_one(match, models, label_loss))
    names = [pair.name for pair in pairs]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        what = "two matches compare the same taps with the same loss"
        place = [pair.place for pair in pairs if pair.name == name][-1]
        found.add(problem(f'"{name}" twice', what, fix="remove one, or add up the weights", where=place))
    if not matches:
        found.add(
            problem(
                "matches: []",
                "there is no match, so nothing to learn from",
                fix="add at least {tap: labels} or {tap: logits}",
            )
        )
    found.raise_any()
    found.add(*_idle_problems(pairs, models))
    found.raise_any()
    return pairs


def _idle_problems(pairs: Sequence[Pair], models: Models) -> list[Problem]:
    """Models that are to learn, and that no match teaches."""
    taught = {pair.source.model for pair in pairs}
    taught |= {name for pair in pairs if pair.target_gradient for name in pair.models}
    return [
        problem(f"{name} as a model that learns", "no match teaches it", fix=f"a match with student: {name}/logits")
        for name in models.trained
        if name not in taught
    ]


def _bind_one(match: Match, models: Models, label_loss: str) -> list[Pair]:
    written = written_ends(match)
    found, how = Collector(), None
    family = written[0][0].address.family
    with found.collecting():
        how = comparison(match, family, label_loss)
    needs_target = how.loss.needs_teacher if how is not None else family != "labels"
    if not needs_target:
        found.add(*_alone_problems(match, written[0]))
    if needs_target and not models.frozen and len(models.trained) < 2:
        found.raise_any()  # a misspelt loss may well be one that needs none
    ends, taps = list[Ends](), list[Ends]()
    with found.collecting():
        ends = owned_ends(match, written, models, needs_target)
    if match.combine is not None and how is not None:
        targets = losses.get(label_loss, "labels").targets
        found.add(*combine_problems(match.combine, match.weights, len(set(match.teachers)), how.loss, family, targets))
    elif match.weights is not None:
        fix = "combine: mean_probabilities, or leave weights out"
        found.add(problem(f"weights: {list(match.weights)}", "nothing is combined", fix=fix, where="weights"))
    for one in ends:
        with found.collecting():
            taps += taps_of(match, one, how.loss.arity if how is not None else "", models)
    found.add(*(p for s, t in taps for p in _gradient_problems(match, t, models)))
    if how is not None:
        found.add(*(p for ends in taps for p in tap_problems(match, how.loss, ends)))
    found.raise_any()
    assert how is not None
    return [_pair(match, how, s, t, models) for s, t in taps]


def _pair(match: Match, how: Comparison, sources: tuple[Tap, ...], targets: tuple[Tap, ...], models: Models) -> Pair:
    combined = None if match.combine is None else combination(match.combine, match.weights, len(targets))
    return Pair(
        _name(sources, targets, how.loss, models), sources, targets, how.loss, float(match.weight), how.schedule,
        how.temperature, match.projection, dict(match.options), fused=match.fused, combine=combined,
        target_gradient=match.target_gradient,
    )  # fmt: skip


def _alone_problems(match: Match, sources: Sequence[Tap]) -> list[Problem]:
    """A loss without a teacher reads one tap."""
    of_labels, tap = sources[0].address.family == "labels", sources[0].address
    what = "labels are those of the data, and no model's" if of_labels else f"{match.loss} needs no teacher"
    if match.teachers:
        fix = f"{{tap: {tap}}} without from"
        return [problem(f"from: {', '.join(match.teachers)}", what, fix=fix, where="from")]
    if match.teacher and not of_labels:
        return [problem(f"teacher: {match.teacher}", what, fix=f"tap: {tap}", where="teacher")]
    return []


def _gradient_problems(match: Match, targets: Sequence[Tap], models: Models) -> list[Problem]:
    """A gradient into a model that is not trained would be lost."""
    if not match.target_gradient:
        return []
    where, fix = "target_gradient", "leave target_gradient out"
    frozen = [tap.model for tap in targets if tap.model not in models.trained]
    what = f"{', '.join(frozen)} is frozen here: a gradient would change nothing"
    return [problem("target_gradient: true", what, fix=fix, where=where)] if frozen else []


def _name(sources: Sequence[Tap], targets: Sequence[Tap], loss: Loss, models: Models) -> str:
    """``what learns<-what it learns from/loss``: ``hidden:1<-2/mse``, ``logits/kl``; models are named where another
    could be meant: ``logits<-big/kl``, ``peer_1/hidden:1<-peer_2/hidden:2/mse``."""
    own = f"{sources[0].model}/" if len(models.trained) > 1 else ""
    if not targets:
        return f"{own}{_joined(sources)}/{loss.name}"
    others = list(dict.fromkeys(tap.model for tap in targets))
    shown = len(models.trained) > 1 or len(models.frozen) > 1 or others == [sources[0].model]
    plain = [list(dict.fromkeys(tap.at(None).address for tap in side)) for side in (sources, targets)]
    blocks = dict.fromkeys(str(tap.address.block) for tap in targets if tap.address.block is not None)
    if plain[0] == plain[1] and not blocks:  # the same tap of both
        target = "+".join(others) if shown else ""
    elif shown:
        target = f"{'+'.join(others)}/{_joined(targets)}"
    else:
        target = "+".join(blocks) if plain[0] == plain[1] else _joined(targets)
    return f"{own}{_joined(sources)}{f'<-{target}' if target else ''}/{loss.name}"


def _joined(taps: Sequence[Tap]) -> str:
    """One name of many: ``hidden:1+2+3``, ``query+key+value:3``."""
    addresses = [tap.address for tap in taps]
    kinds = list(dict.fromkeys(str(tap.at(None).address) for tap in taps))
    blocks = list(dict.fromkeys(str(address.block) for address in addresses if address.block is not None))
    if len(kinds) > 1 and len(blocks) > 1:
        return "+".join(map(str, addresses))
    return "+".join(kinds) + (":" + "+".join(blocks) if blocks else "")
