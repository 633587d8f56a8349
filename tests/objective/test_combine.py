"""The logits of several teachers as one target, against the formulas of their papers and codes, written out anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_lab import make_teacher
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from textkd import Match, TextkdError
from textkd.models.taps import anatomy
from textkd.objective.bind import bind
from textkd.objective.cache_limits import kept_problems
from textkd.objective.combine import combination, gate
from textkd.objective.objective import Objective
from textkd.teachers import CacheOptions

TEACHERS = ("big", "other", "third")
CLASSES = "cross_entropy"


def tensors(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """(the student's logits, those of three teachers [3, ...])."""
    torch.manual_seed(seed)
    return torch.randn(shape, requires_grad=True), 3 * torch.randn(3, *shape)


ROWS = tensors((5, 4))
TOKENS = tensors((3, 6, 4), 1)
LABELS = torch.tensor([0, 3, 1, 1, 2])
TOKEN_LABELS = torch.tensor([[0, 1, 2, 3, -100, -100], [3, -100, 1, 0, 2, 2], [1, 1, -100, -100, -100, -100]])
CASES = {"rows": (ROWS, LABELS), "tokens": (TOKENS, TOKEN_LABELS)}


def objective(teachers: int = 3, **words: Any) -> Objective:
    frozen = {name: anatomy(make_teacher(2)) for name in TEACHERS[:teachers]}
    match = Match("logits", from_=TEACHERS[:teachers], **words)
    return Objective(bind([match], {"student": anatomy(make_teacher(2))}, frozen, CLASSES))


def ours(case: str, teachers: int = 3, **words: Any) -> tuple[float, Tensor]:
    """(loss, its gradient by the student's logits)."""
    (student, theirs), labels = CASES[case]
    taps = {f"{name}/logits": one for name, one in zip(TEACHERS, theirs[:teachers], strict=False)}
    total, _ = objective(teachers, **words)({"student/logits": student, **taps}, {"labels": labels})
    return total.item(), torch.autograd.grad(total, student)[0]


def valid(case: str) -> tuple[Tensor, Tensor, Tensor]:
    """The rows that count: student [N,C], teachers [3,N,C], labels [N]."""
    (student, theirs), labels = CASES[case]
    return student[labels >= 0], theirs[:, labels >= 0], labels[labels >= 0]


def kl(target: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 KL(target || softmax(student / T)) of each row."""
    p = (student / temperature).softmax(-1)
    return temperature**2 * (target * (target.log() - p.log())).sum(-1)


def expect(case: str, value: Tensor, found: tuple[float, Tensor], offset: float = 0.0) -> None:
    student = CASES[case][0][0]
    assert found[0] == pytest.approx(value.item() + offset, rel=1e-5)
    gradient = torch.autograd.grad(value, student)[0]
    assert gradient.abs().max() > 1e-3
    assert_close(found[1], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_mean_probabilities_are_hintons(case: str, temperature: float) -> None:
    student, theirs, _ = valid(case)
    target = sum((z / temperature).softmax(-1) for z in theirs) / 3
    expect(case, kl(target, student, temperature).mean(), ours(case, combine="mean_probabilities",
                                                               temperature=temperature))  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_mean_logits_are_textbrewers(case: str) -> None:
    student, theirs, _ = valid(case)
    target = (sum(theirs) / 3 / 2.0).softmax(-1)
    expect(case, kl(target, student, 2.0).mean(), ours(case, combine="mean_logits", temperature=2.0))


def test_a_loss_of_logits_gets_their_mean() -> None:
    student, theirs, _ = valid("rows")
    value = (student - theirs.mean(0)).square().mean()
    expect("rows", value, ours("rows", combine="mean_logits", loss="mse"))


@pytest.mark.parametrize("kind", ["mean_probabilities", "mean_logits"])
def test_weights_are_divided_by_their_sum(kind: str) -> None:
    student, theirs, _ = valid("rows")
    parts = theirs if kind == "mean_logits" else (theirs / 4).softmax(-1)
    mixed = (1.0 * parts[0] + 2.0 * parts[1] + 5.0 * parts[2]) / 8
    target = (mixed / 4).softmax(-1) if kind == "mean_logits" else mixed
    found = ours("rows", combine=kind, weights=[1, 2, 5], temperature=4)
    expect("rows", kl(target, student, 4.0).mean(), found)
    assert found[0] != pytest.approx(ours("rows", combine=kind, temperature=4)[0], rel=1e-3)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("teachers", [2, 3])
def test_the_gate_is_that_of_ca_mkd(case: str, teachers: int) -> None:
    """CA-MKD sums the teachers' divergences with their weights. KL to the weighted mean of their probabilities is that
    but for entropies, which no student changes."""
    student, theirs, labels = valid(case)
    theirs = theirs[:teachers]
    surprise = torch.stack([F.cross_entropy(z, labels, reduction="none") for z in theirs])
    weights = (1 - surprise.exp() / surprise.exp().sum(0)) / (teachers - 1)
    assert_close(weights.sum(0), torch.ones(len(labels)))
    soft = (theirs / 2.0).softmax(-1)
    value = sum((w * kl(p, student, 2.0)).mean() for w, p in zip(weights, soft, strict=True))

    def entropy(p: Tensor) -> Tensor:
        return -(p * p.log()).sum(-1)

    between = entropy((weights[..., None] * soft).sum(0)) - (weights * entropy(soft)).sum(0)
    assert between.min() > 0
    found = ours(case, teachers, combine="gate", temperature=2.0)
    expect(case, value, found, offset=-4 * between.mean().item())


def test_the_weights_of_a_gate_sum_up_to_1() -> None:
    """Also where a position has no label: there all teachers count alike."""
    for teachers in (2, 3):
        weights = gate(TOKENS[1][:teachers], TOKEN_LABELS)
        assert weights.shape == (teachers, 3, 6)
        assert_close(weights.sum(0), torch.ones(3, 6))
        assert_close(weights[:, TOKEN_LABELS < 0], torch.full_like(weights[:, TOKEN_LABELS < 0], 1 / teachers))


def test_a_surer_teacher_counts_more() -> None:
    sure, unsure = torch.tensor([[9.0, 0, 0, 0]]), torch.tensor([[0.0, 5, 0, 0]])
    one = objective(2, combine="gate").pairs[0].combine
    assert one is not None
    target = one([sure, unsure], labels=torch.tensor([0])).softmax(-1)
    assert target[0, 0] > 0.95
    assert one([sure, unsure], labels=torch.tensor([1])).softmax(-1)[0, 1] > 0.9


def test_a_scheduled_temperature_is_that_of_the_mean_too() -> None:
    (student, theirs), labels = CASES["rows"]
    one = objective(combine="mean_probabilities", temperature={"kind": "linear", "start": 1, "end": 5})
    taps = {"student/logits": student, **{f"{n}/logits": z for n, z in zip(TEACHERS, theirs, strict=True)}}
    for progress, temperature in ((0.0, 1.0), (0.5, 3.0)):
        total, _ = one(taps, {"labels": labels}, progress)
        target = (theirs / temperature).softmax(-1).mean(0)
        assert total.item() == pytest.approx(kl(target, student, temperature).mean().item(), rel=1e-5)


def test_half_precision_is_widened() -> None:
    half = [z.to(torch.bfloat16) for z in ROWS[1]]
    one = objective(combine="mean_probabilities").pairs[0].combine
    assert one is not None
    assert one(half).dtype == torch.float32
    assert_close(one(half), one([z.float() for z in half]))


@pytest.mark.parametrize(
    ("words", "teachers", "said"),
    [
        ({"combine": "mean"}, 2, "nearest: mean_logits"),
        ({"combine": "mean_probabilities", "loss": "mse"}, 2, "reads the logits themselves"),
        ({"combine": "gate", "loss": "mse"}, 2, "combine: mean_logits, or a loss as kl"),
        ({"combine": "gate", "weights": [1, 2]}, 2, "the gate gives the weights itself"),
        ({"combine": "mean_logits"}, 1, "the match has 1"),
        ({"combine": "mean_logits", "weights": [1, 2, 3]}, 2, "found: 2 teachers"),
        ({"combine": "mean_logits", "weights": [1, -2]}, 2, "not all are numbers above 0"),
        ({"combine": "mean_logits", "weights": [1, True]}, 2, "not all are numbers above 0"),
        ({"combine": "mean_logits", "weights": [1e300, 1]}, 2, "1 counts nothing beside 1e+300"),
        ({"weights": [1, 2]}, 1, "nothing is combined"),
        ({"combine": "mean_logits", "fused": True}, 2, "fused"),
    ],
)
def test_what_cannot_be_combined_is_told(words: dict[str, Any], teachers: int, said: str) -> None:
    with pytest.raises(TextkdError) as raised:
        objective(teachers, **words)
    assert said in str(raised.value)
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize(
    ("kind", "kept", "said"),
    [
        ("mean_probabilities", {"top_k": 2}, ""),
        ("mean_probabilities", {"samples": 4}, ""),
        ("mean_logits", {"top_k": 2}, ""),
        ("mean_logits", {"samples": 4}, "not linear in the teacher's probabilities"),
        ("gate", {"top_k": 2}, "reads the teacher's logits as they are"),
        ("gate", {"samples": 4}, "reads the teacher's logits as they are"),
        ("gate", "dense", ""),
    ],
)
def test_a_cache_that_keeps_less_is_told_from_what_combines(kind: str, kept: Any, said: str) -> None:
    found = kept_problems(objective(combine=kind).pairs, CacheOptions(logits=kept))
    assert [problem.where for problem in found] == ["[0]"] * bool(said)
    assert all(said in problem.found for problem in found)


def test_hidden_taps_are_not_combined() -> None:
    frozen = {name: anatomy(make_teacher(2)) for name in TEACHERS}
    match = Match("hidden", from_=TEACHERS, combine="mean_logits")
    with pytest.raises(TextkdError, match="logits alone can be combined"):
        bind([match], {"student": anatomy(make_teacher(2))}, frozen, CLASSES)


@pytest.mark.parametrize("label_loss", ["mse", "bce"])
def test_a_gate_needs_classes(label_loss: str) -> None:
    """There the labels are numbers or flags: no teacher has a cross-entropy with a true class."""
    frozen = {name: anatomy(make_teacher(2)) for name in TEACHERS}
    with pytest.raises(TextkdError, match="the labels are no classes"):
        bind([Match("logits", from_=TEACHERS, combine="gate")], {"student": anatomy(make_teacher(2))}, frozen,
             label_loss)  # fmt: skip


def test_weights_whose_sum_is_too_large_for_a_number() -> None:
    assert combination("mean_logits", [1e308, 1e308], 2).weights == (0.5, 0.5)
