"""A match that would teach nothing is refused before any training; a model that is only read stays as it is."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from second_proofs import but_few
from tiny_lab import Tiny, make_teacher
from torch import nn

from textkd import Match, TextkdError, from_config, from_recipe, shrink
from textkd.objective.match_checks import comparison
from textkd.teachers.unchanged import checksums, refuse_changed
from textkd.training import dry_run
from textkd.training.dry_run import check
from textkd.training.trainer import DistilTrainer

BATCH = {
    "input_ids": torch.randint(5, 20, (4, 6), generator=torch.Generator().manual_seed(0)),
    "attention_mask": torch.ones(4, 6, dtype=torch.long), "labels": torch.tensor([0, 1, 1, 0]),
}  # fmt: skip


def detached(student: torch.Tensor, teacher: torch.Tensor, mask: Any = None) -> torch.Tensor:
    return (student.detach() - teacher).square().mean()


def nothing(student: torch.Tensor, teacher: torch.Tensor, mask: Any = None) -> torch.Tensor:
    return (student - teacher).square().mean() * 0


def half_of_the_time(
    student: torch.Tensor, teacher: torch.Tensor, mask: Any = None, *, progress: float
) -> torch.Tensor:
    return (student - teacher).square().mean() * max(0.0, progress - 0.4)


SILENT: dict[str, tuple[Match, str]] = {
    "a schedule of zeros": (Match("logits", schedule={"kind": "linear", "start": 0, "end": 0}), "0 from begin to end"),
    "steps of zeros": (
        Match("logits", schedule={"kind": "step", "values": [0, 0], "at": [0.5]}),
        "0 from begin to end",
    ),
    "dkd": (Match("logits", loss="dkd", options={"alpha": 0.0, "beta": 0.0}), "gradient is zero"),
    "dist": (Match("logits", loss="dist", options={"beta": 0.0, "gamma": 0.0}), "gradient is zero"),
    "a loss that detaches": (Match("hidden", loss=detached, layers={1: 2}), "no gradient"),
    "a loss that is 0": (Match("hidden", loss=nothing, layers={1: 2}), "gradient is zero"),
    "a hot temperature": (Match("logits", temperature=1e7), "temperature"),
    "a cold temperature": (Match("logits", temperature=1e-6), "temperature"),
    "one of the options": (Match("logits", options={"temperature": 1e7}), "temperature"),
}


@pytest.mark.parametrize(
    "what", but_few(SILENT, "a schedule of zeros", "dkd", "a loss that detaches", "a hot temperature")
)
def test_a_match_that_teaches_nothing_is_refused(what: str) -> None:
    match, words = SILENT[what]
    teacher = make_teacher(4)
    with pytest.raises(TextkdError) as caught:
        check(
            {"student": shrink(teacher, layers=[1, 3])}, {"teacher": teacher}, [match], BATCH, "cross_entropy", rows=64
        )
    assert words in str(caught.value), str(caught.value)


def test_a_projection_that_learns_alone_is_refused() -> None:
    """The blocks before the tap are frozen: only what stands between the two models would learn."""
    teacher = make_teacher(4)
    student = from_config(teacher, num_hidden_layers=2, hidden_size=8, num_attention_heads=2)
    parts = ["bert.embeddings", "bert.encoder.layer.0"]
    matches = [Match("hidden", loss="mse", layers={1: 2}), Match("labels")]
    with pytest.raises(TextkdError) as caught:
        check({"student": student}, {"teacher": teacher}, matches, BATCH, "cross_entropy", rows=64, frozen_names=parts)
    (told,) = caught.value.problems
    assert "only its projection would learn" in told.found
    assert "hidden:1" in told.asked
    check({"student": student}, {"teacher": teacher}, matches, BATCH, "cross_entropy", rows=64)


@pytest.mark.parametrize(
    "match",
    [Match("hidden", layers={0: 0}), Match("logits"), Match("attention", layers={1: 1}), Match("query", layers={1: 1})],
    ids=lambda match: str(match.tap),
)
def test_a_student_that_says_what_its_teacher_says_may_learn(match: Match) -> None:
    """The gradient is zero because nothing differs yet, not because of the match."""
    teacher = make_teacher(2)
    check({"student": shrink(teacher, layers=[1, 2])}, {"teacher": teacher}, [match], BATCH, "cross_entropy", rows=64)


def test_a_loss_may_begin_with_nothing() -> None:
    teacher = make_teacher(4)
    match = Match("logits", schedule={"kind": "stop_at", "at": 0.5, "start": 0, "end": 1})
    check({"student": shrink(teacher, layers=[1, 3])}, {"teacher": teacher}, [match], BATCH, "cross_entropy", rows=64)


@pytest.mark.long
@pytest.mark.parametrize(("epochs", "refused"), [(3, True), (1, False)])
def test_a_schedule_that_wakes_after_the_last_step_is_refused(tiny: Tiny, epochs: int, refused: bool) -> None:
    """Of 10 steps and more: fewer are a trial of the recipe."""
    late = {"tap": "logits", "schedule": {"kind": "step", "values": [0, 1], "at": [0.999]}}
    values = tiny.recipe | {"matches": [{"tap": "labels"}, late]}
    values["training"]["num_train_epochs"] = epochs
    made = from_recipe(tiny.write(values))
    with pytest.raises(TextkdError) if refused else nullcontext() as caught:
        made.check()
    if caught:
        (told,) = caught.value.problems
        assert told.where == "matches[1]"
        assert "0 in each of the 24 steps" in told.found


def test_nothing_is_left_of_the_look() -> None:
    teacher = make_teacher(4)
    student, state = shrink(teacher, layers=[1, 3]), torch.get_rng_state()
    check({"student": student}, {"teacher": teacher}, [Match("logits")], BATCH, "cross_entropy", rows=64)
    assert all(weight.grad is None for weight in student.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_student_that_shares_weights_with_its_teacher_is_refused() -> None:
    teacher = make_teacher(4)
    student = shrink(teacher, layers=[1, 3])
    student.bert.encoder.layer[0] = teacher.bert.encoder.layer[0]
    with pytest.raises(TextkdError, match=r"shares bert\.encoder\.layer\.0"):
        check({"student": student}, {"teacher": teacher}, [Match("logits")], BATCH, "cross_entropy", rows=64)
    frozen = ["bert.encoder.layer.0", "bert.embeddings"]
    check({"student": student}, {"teacher": teacher}, [Match("logits")], BATCH, "cross_entropy", rows=64,
          frozen_names=frozen)  # fmt: skip


@pytest.mark.long
def test_a_teacher_that_changes_stops_the_run(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """However that comes about."""
    step = DistilTrainer.training_step

    def moving(self: Any, *args: Any, **kwargs: Any) -> Any:
        for teacher in self.wiring.frozen.teachers.values():
            next(teacher.model.parameters()).data[0, 0] += 0.001
        return step(self, *args, **kwargs)

    monkeypatch.setattr(DistilTrainer, "training_step", moving)
    monkeypatch.setattr(dry_run, "shared_problems", lambda *_: [])
    file = tiny.write(tiny.recipe | {"control": False})
    with pytest.raises(TextkdError, match=r"teacher\.bert.* changed in the training"):
        from_recipe(file).run()


def test_one_bit_is_seen() -> None:
    model = nn.Linear(3, 2).to(torch.bfloat16)
    before = checksums({"one": model})
    refuse_changed({"one": model}, before)
    model.weight.data.view(torch.int16)[1, 2] ^= 1
    with pytest.raises(TextkdError, match=r"one\.weight changed"):
        refuse_changed({"one": model}, before)


@pytest.mark.parametrize(("labels", "loss"), [("cross_entropy", "kl"), ("bce", "bce"), ("mse", "mse")])
def test_logits_are_compared_as_the_task_has_it(labels: str, loss: str) -> None:
    """A softmax over several labels, or over one number, would teach little or nothing."""
    assert comparison(Match("logits", temperature=2), "logits", labels).loss.name == loss
    assert comparison(Match("logits", loss="kl"), "logits", labels).loss.name == "kl"
