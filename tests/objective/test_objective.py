"""The objective alone: names, weights, schedules, shares, and what its first call refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_lab import make_teacher

from textkd import Match
from textkd.errors import TextkdError
from textkd.models.taps import anatomy
from textkd.objective.bind import bind
from textkd.objective.objective import Objective

BATCH = {"input_ids": torch.ones(2, 4, dtype=torch.long), "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]),
         "labels": torch.tensor([0, 1])}  # fmt: skip


def objective(*matches: Match) -> Objective:
    trained, frozen = {"student": anatomy(make_teacher(2))}, {"teacher": anatomy(make_teacher(4))}
    return Objective(bind(matches, trained, frozen, "cross_entropy"))


def taps(seed: int, gradient: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    shapes = {
        "logits": (2, 2),
        "hidden:1": (2, 4, 16),
        "hidden:2": (2, 4, 16),
        "hidden:4": (2, 4, 16),
        "attention:1": (2, 4, 4, 4),
    }
    return {name: torch.randn(shape).requires_grad_(gradient) for name, shape in shapes.items()}


def both(student: dict[str, torch.Tensor], teacher: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The taps of both models by their whole names."""
    sides = {"student": student, "teacher": teacher}
    return {f"{model}/{name}": tap for model, side in sides.items() for name, tap in side.items()}


def test_names_and_addresses() -> None:
    one = objective(Match("labels"), Match("logits"), Match("hidden", layers="uniform"))
    assert [pair.name for pair in one.pairs] == [
        "labels/cross_entropy",
        "logits/kl",
        "hidden:1<-2/mse",
        "hidden:2<-4/mse",
    ]
    assert one.reads("student") == ["logits", "hidden:1", "hidden:2"]
    assert one.reads("teacher") == ["logits", "hidden:2", "hidden:4"]
    assert one.uses_head("student")
    assert not objective(Match("hidden", layers="uniform")).uses_head("student")


@pytest.mark.parametrize(
    ("side", "value", "told"),
    [("teacher", torch.nan, "so are numbers in logits of teacher"), ("student", torch.inf, "in logits of student"),
     ("teacher", -torch.inf, "look at its options")],
)  # fmt: skip
def test_a_loss_that_is_no_number_names_the_model_that_has_none(side: str, value: float, told: str) -> None:
    sides = {"student": taps(0, True), "teacher": taps(1, False)}
    sides[side]["logits"].data[0, 0] = value
    with pytest.raises(TextkdError, match=told):
        objective(Match("logits", loss="mse")).dry_run(both(**sides), BATCH)


def test_total_is_the_weighted_sum_of_the_parts() -> None:
    one = objective(
        Match("labels", weight=0.25), Match("logits", temperature=2, weight=3), Match("hidden", layers="uniform")
    )
    student, teacher = taps(0, True), taps(1, False)
    total, parts = one(both(student, teacher), BATCH)
    assert not any(value.requires_grad for value in parts.values())
    weights = {"labels/cross_entropy": 0.25, "logits/kl": 3.0}
    expected = sum(weights.get(name, 1.0) * float(value) for name, value in parts.items())
    assert total.item() == pytest.approx(expected)
    valid = BATCH["attention_mask"].bool()
    assert float(parts["hidden:1<-2/mse"]) == pytest.approx(
        (student["hidden:1"] - teacher["hidden:2"])[valid].pow(2).mean().item()
    )
    p, q = ((t["logits"].detach() / 2).softmax(-1) for t in (teacher, student))
    assert float(parts["logits/kl"]) == pytest.approx(float(4 * (p * (p / q).log()).sum(-1).mean()))
    assert float(parts["labels/cross_entropy"]) == pytest.approx(
        float(torch.nn.functional.cross_entropy(student["logits"], BATCH["labels"]))
    )


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0)])
def test_a_schedule_multiplies_the_weight(progress: float, factor: float) -> None:
    one = objective(Match("logits", weight=2, schedule={"kind": "linear"}))
    total, parts = one(both(taps(0, True), taps(1, False)), BATCH, progress)
    assert total.item() == pytest.approx(2 * factor * float(parts["logits/kl"]))


def test_a_temperature_can_be_a_schedule() -> None:
    moving = objective(Match("logits", temperature={"kind": "linear", "start": 4, "end": 2}))
    student, teacher = taps(0, True), taps(1, False)
    for progress, temperature in ((0.0, 4.0), (0.5, 3.0), (1.0, 2.0)):
        fixed = objective(Match("logits", temperature=temperature))
        a, b = (one(both(student, teacher), BATCH, progress)[0] for one in (moving, fixed))
        assert a.item() == pytest.approx(b.item())


def row_of(tensors: dict[str, torch.Tensor], i: int) -> dict[str, torch.Tensor]:
    return {name: tensor[i : i + 1] for name, tensor in tensors.items()}


def test_shares_make_a_cut_batch_whole() -> None:
    one = objective(Match("labels"), Match("hidden", layers={1: 2}), Match("attention", layers={1: 1}))
    student, teacher = taps(0, True), taps(1, False)
    teacher["attention:1"] = taps(2, False)["attention:1"]
    whole, whole_parts = one(both(student, teacher), BATCH)
    rows = [row_of(BATCH, i) for i in range(2)]
    expected = torch.stack([one.items(row) for row in rows]).mean(0)
    assert expected.tolist() == [1.0, 2.5, 6.5]
    cut = [one(row_of(both(student, teacher), i), rows[i], 0.0, expected) for i in range(2)]
    assert (sum(total.detach() for total, _ in cut)) / 2 == pytest.approx(whole.item())
    for name, value in whole_parts.items():
        assert float(sum(parts[name] for _, parts in cut)) / 2 == pytest.approx(float(value))


def refused(change: Any) -> str:
    student, teacher, batch = taps(0, True), taps(1, False), dict(BATCH)
    change(student, teacher, batch)
    with pytest.raises(TextkdError) as caught:
        objective(Match("logits"), Match("hidden", layers={1: 2}))(both(student, teacher), batch)
    return str(caught.value)


def test_the_first_call_refuses_what_would_teach_nothing() -> None:
    assert "tap student/hidden:1" in refused(lambda s, t, b: s.pop("hidden:1"))
    assert "tap teacher/hidden:2" in refused(lambda s, t, b: t.pop("hidden:2"))
    assert "no gradient" in refused(lambda s, t, b: s.update({"hidden:1": s["hidden:1"].detach()}))
    assert "leaves out every token" in refused(lambda s, t, b: b.update(attention_mask=torch.zeros(2, 4)))
    message = refused(lambda s, t, b: (s.clear(), t.clear()))
    assert "logits" in message
    assert "hidden" in message
