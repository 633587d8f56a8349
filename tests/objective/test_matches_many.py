"""Losses that take many taps, further tensors of the step, or own weights: bound, wired, trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from tiny_lab import Tiny, make_teacher
from torch import Tensor, nn

from textkd import Match, TextkdError, shrink
from textkd.config import build
from textkd.losses import register
from textkd.losses import registry as table
from textkd.models.taps import anatomy
from textkd.objective import projections
from textkd.objective.bind import bind
from textkd.training.wiring import wire

CLASSES = "cross_entropy"
IDS = torch.arange(4 * 6).view(4, 6) % 16 + 5
BATCH = {
    "input_ids": IDS,
    "attention_mask": torch.ones_like(IDS),
    "labels": IDS[:, 0] % 2,
    "example_id": torch.arange(4),
}


def gram(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """Compares how the listed taps lie to each other; the lists may differ in length."""
    means = [torch.stack([tap.mean() for tap in taps]).sum() for taps in (student, teacher)]
    return (means[0] - means[1]).square()


def informed(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, labels: Tensor, example_id: Tensor, progress: float
) -> Tensor:
    """Needs the labels, the rows and how far the training is."""
    return ((student - teacher) * labels[:, None]).square().mean() * progress + 0.0 * example_id.sum()


def pairwise(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compares samples, so it needs some."""
    return (student - teacher).square().mean()


class Scaled(nn.Module):
    """Owns a weight per width and remembers each row of the data."""

    def __init__(self, student: Sequence[int], teacher: Sequence[int], *, start: float = 1.0, rows: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((teacher[-1],), start))
        self.inner = nn.Linear(student[-1], teacher[-1])
        self.register_buffer("seen", torch.zeros(rows, dtype=torch.long))

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, example_id: Tensor) -> Tensor:
        self.seen[example_id] += 1
        return (self.inner(student) - self.scale * teacher).square().mean()


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    before = dict(table._ENTRIES)
    register("gram_layers", family="hidden", arity="layers")(gram)
    register("gram_kinds", family="heads", arity="kinds", any_width=True)(gram)
    register("informed", family="logits", needs=("labels", "example_id", "progress"))(informed)
    register("scaled", family="hidden", needs=("example_id",), any_width=True)(Scaled)
    register("pairwise", family="hidden", min_rows=3)(
        lambda student, teacher, mask=None: (student - teacher).square().mean()
    )
    yield
    table._ENTRIES.clear()
    table._ENTRIES.update(before)


@pytest.fixture
def models() -> tuple[Any, Any]:
    teacher = make_teacher()
    return shrink(teacher, layers=[2, 4]), teacher


def names(models: tuple[Any, Any], match: Match) -> list[str]:
    trained, frozen = {"student": anatomy(models[0])}, {"teacher": anatomy(models[1])}
    return [pair.name for pair in bind([match], trained, frozen, CLASSES)]


QKV = ["query", "key", "value"]


@pytest.mark.parametrize(
    ("match", "pairs"),
    [
        (Match("hidden", loss="gram_layers"), ["hidden:1+2<-2+4/gram_layers"]),
        (Match("hidden", loss="gram_layers", layers="all"), ["hidden:1+2<-1+2+3+4/gram_layers"]),
        (Match(["hidden:0", "hidden:2"], loss="gram_layers"), ["hidden:0+2<-0+2/gram_layers"]),
        (Match(student=["hidden:1"], teacher=["hidden:2", "hidden:3"], loss="gram_layers"),
         ["hidden:1<-2+3/gram_layers"]),
        (Match(QKV, loss="gram_kinds", layers={2: 4}), ["query+key+value:2<-4/gram_kinds"]),
        (Match(QKV, loss="gram_kinds"), ["query+key+value:1<-2/gram_kinds", "query+key+value:2<-4/gram_kinds"]),
        (Match(["query:1", "key:1"], loss="gram_kinds"), ["query+key:1<-1/gram_kinds"]),
        (Match(["query", "key"], loss="mse", layers={1: 3}), ["query:1<-3/mse", "key:1<-3/mse"]),
        (Match(["hidden:1", "hidden:2"], loss="mse"), ["hidden:1<-1/mse", "hidden:2<-2/mse"]),
    ],
)  # fmt: skip
def test_lists_of_taps_become_pairs(models: tuple[Any, Any], match: Match, pairs: list[str]) -> None:
    assert names(models, match) == pairs


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (Match("hidden", loss="mse", layers="all"), "one pair of blocks at a time"),
        (Match("query", loss="gram_kinds", layers="all"), "one pair of blocks at a time"),
        (Match(["hidden", "attention"]), "different kinds"),
        (Match(["hidden", "hidden:1"], loss="gram_layers"), "no block number"),
        (Match(student=["hidden:1"], teacher=["hidden:1", "hidden:2"], loss="mse"), "as many on both sides"),
        (Match(["hidden:1", "hidden:9"], loss="gram_layers"), "hidden:9"),
        (Match(["hidden:1", "hiden:2"], loss="gram_layers"), "nearest: hidden"),
    ],
)
def test_wrong_lists_are_refused(models: tuple[Any, Any], match: Match, said: str) -> None:
    with pytest.raises(TextkdError, match=said):
        names(models, match)


def run(student: Any, wired: Any, inside: bool, progress: float = 0.5) -> dict[str, Tensor]:
    theirs = wired.frozen.taps(BATCH)
    finish = wired.objective.inside(theirs, BATCH, progress) if inside else None
    forward = wired.learners.forward(student, BATCH, finish)
    assert bool(forward.losses) == bool(finish)
    total, parts = wired.objective({**forward.taps, **theirs}, BATCH, progress, computed=forward.losses)
    student.zero_grad()
    total.backward()
    return parts


def test_a_loss_of_many_taps_gets_lists(models: tuple[Any, Any]) -> None:
    student, teacher = models
    wired = wire(student, teacher, [Match("hidden", loss="gram_layers", layers="all")], BATCH)
    (value,) = run(student, wired, inside=True).values()
    with torch.no_grad():
        hidden = [m(**{k: BATCH[k] for k in ("input_ids", "attention_mask")}, output_hidden_states=True).hidden_states
                  for m in (student, teacher)]  # fmt: skip
    sums = [sum(h.mean() for h in states[1:]) for states in hidden]
    assert value.item() == pytest.approx((sums[0] - sums[1]).square().item(), rel=1e-5)
    wired.close()


def test_taps_of_another_width_are_projected_one_by_one(models: tuple[Any, Any]) -> None:
    student = make_teacher(layers=2, hidden=8)
    wired = wire(student, models[1], [Match("hidden", loss="gram_layers")], BATCH)
    assert projections.names(student) == ["hidden:1+2<-2+4/gram_layers[0]", "hidden:1+2<-2+4/gram_layers[1]"]
    run(student, wired, inside=True)
    assert all(p.grad is not None for name, p in student.named_parameters() if "textkd" in name)
    wired.close()


def test_further_tensors_of_the_step_reach_the_loss(models: tuple[Any, Any]) -> None:
    student, teacher = models
    wired = wire(student.eval(), teacher, [Match("logits", loss="informed")], BATCH)
    with torch.no_grad():
        student.classifier.bias += 1.0
    half, whole = (run(student, wired, inside=False, progress=p)["logits/informed"] for p in (0.5, 1.0))
    assert half > 0
    assert whole.item() == pytest.approx(2 * half.item(), rel=1e-5)
    wired.close()
    fresh = wire(student, teacher, [Match("logits", loss="informed")], BATCH)
    batch = {k: v for k, v in BATCH.items() if k != "example_id"}
    taps = {"student/logits": torch.zeros(4, 2, requires_grad=True), "teacher/logits": torch.zeros(4, 2)}
    with pytest.raises(TextkdError, match="the batch has no example_id"):
        fresh.objective(taps, batch)
    fresh.close()


@pytest.mark.parametrize("inside", [True, False])
def test_a_loss_with_weights_lives_on_the_student_and_is_trained(models: tuple[Any, Any], inside: bool) -> None:
    student = make_teacher(layers=2, hidden=8).train()
    wired = wire(student, models[1], [Match("hidden:2", loss="scaled", options={"start": 2.0})], BATCH, rows=9)
    assert projections.names(student) == ["hidden:2<-2/scaled (loss)"]
    loss = projections.get(student, "hidden:2<-2/scaled (loss)")
    assert loss.inner.weight.shape == (16, 8)
    assert loss.scale[0] == 2.0
    run(student, wired, inside)
    assert loss.seen.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert loss.scale.grad.abs().sum() > 0
    assert student.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    wired.close()
    projections.detach(student)
    assert not any("textkd" in name for name in student.state_dict())


def test_a_batch_that_is_too_small_for_a_loss_is_refused(models: tuple[Any, Any]) -> None:
    wired = wire(*models, [Match("hidden:1", loss="pairwise")], BATCH)
    few = {name: value[:2] for name, value in BATCH.items()}
    tap = torch.zeros(2, 6, 16, requires_grad=True)
    with pytest.raises(TextkdError, match=r"a batch of 2, where it compares 3 samples"):
        wired.objective({"student/hidden:1": tap, "teacher/hidden:1": tap.detach()}, few)
    wired.close()


@pytest.mark.long
def test_a_recipe_trains_them_and_a_small_rest_is_told_before(tiny: Tiny) -> None:
    values = tiny.recipe | {"control": False}
    values["matches"] = [
        {"tap": "hidden", "loss": "gram_layers", "layers": "all"},
        {"tap": ["query", "key"], "loss": "gram_kinds", "layers": {2: 4}},
        {"tap": "hidden:2", "loss": "scaled"},
        {"tap": "logits", "loss": "informed"},
    ]
    result = build.from_recipe(tiny.write(values)).run()
    assert result.student.is_dir()
    values["training"] |= {"output_dir": str(tiny.folder / "small"), "per_device_train_batch_size": 2}
    values["matches"] = [{"tap": "hidden:2", "loss": "pairwise"}]
    with pytest.raises(TextkdError, match="batches of 2"):
        build.from_recipe(tiny.write(values)).run()
    values["training"] |= {"per_device_train_batch_size": 9}  # 64 rows: the last batch has one
    with pytest.raises(TextkdError, match="dataloader_drop_last"):
        build.from_recipe(tiny.write(values)).run()


@pytest.mark.long
def test_what_a_first_step_would_refuse_is_told_before_all_at_once(tiny: Tiny) -> None:
    values = tiny.recipe
    values["matches"] = [
        {"tap": "hidden", "loss": "mgskd_tokens", "layers": {1: 2}, "options": {"heads": 5}},
        {"tap": "hidden:2", "loss": "mse"},
    ]
    values["stages"] = [{"matches": values.pop("matches"), "frozen": ["bert"]}]
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(tiny.write(values)).check()
    assert {problem.where.split(".")[0] for problem in caught.value.problems} == {"stages[0]"}
    assert sum("it carries no gradient" in problem.found for problem in caught.value.problems) == 2
    values["stages"][0]["frozen"] = []
    with pytest.raises(TextkdError, match="no multiple"):
        build.from_recipe(tiny.write(values)).check()
    assert not (tiny.folder / "run").exists()
