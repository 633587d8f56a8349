"""The moving average of the weights: its formula, and that a training ends in it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tiny_lab import Tiny
from torch import nn

from textkd import report
from textkd.config import build
from textkd.training.ema import Average


def steps(model: nn.Module, average: Average, values: list[float]) -> None:
    for value in values:
        with torch.no_grad():
            model.weight.fill_(value)
        average.update()


def test_it_is_the_recurrence_with_a_decay_that_grows():
    model = nn.Linear(2, 1)
    average = Average(model, 0.5)
    steps(model, average, [1.0, 3.0, -2.0, 8.0])
    expected = 1.0
    for n, value in enumerate([1.0, 3.0, -2.0, 8.0]):
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
    assert average.average["weight"][0, 0].item() == pytest.approx(expected, rel=1e-5)


def test_applied_is_there_and_gone_again():
    model = nn.Linear(2, 1)
    average = Average(model, 0.9)
    steps(model, average, [1.0, 5.0])
    mean = average.average["weight"].clone()
    assert not torch.equal(mean, model.weight)
    with average.applied():
        assert torch.equal(model.weight, mean)
    assert (model.weight == 5.0).all()
    assert torch.equal(average.average["weight"], mean)
    average.take_over()
    assert torch.equal(model.weight, mean)


def test_frozen_weights_stay():
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    average = Average(model, 0.9)
    steps(model, average, [1.0])
    assert set(average.average) == {"weight"}


def test_a_checkpoint_goes_on_as_if_unbroken(tmp_path):
    model = nn.Linear(2, 1)
    straight, first = Average(model, 0.9), Average(model, 0.9)
    for value in (1.0, 2.0):
        with torch.no_grad():
            model.weight.fill_(value)
        straight.update()
        first.update()
    first.save(tmp_path)
    second = Average(model, 0.9, tmp_path)
    with torch.no_grad():
        model.weight.fill_(7.0)
    straight.update()
    second.update()
    assert torch.equal(straight.average["weight"], second.average["weight"])
    assert second.steps == 3


@pytest.mark.long
def test_a_run_ends_in_the_average_and_not_in_the_last_weights(tiny: Tiny) -> None:
    ends = {}
    for name, own in {"plain": {}, "averaged": {"average": 0.99}}.items():
        values = tiny.recipe | {"control": False}
        values["training"] = values["training"] | own | {"output_dir": str(tiny.folder / name)}
        build.from_recipe(tiny.write(values)).run()
        ends[name] = load_file(tiny.folder / name / "seed-1" / "student" / "model.safetensors")
    differing = [key for key in ends["plain"] if not torch.equal(ends["plain"][key], ends["averaged"][key])]
    assert len(differing) > len(ends["plain"]) // 2
    assert not any("average" in path.name for path in (tiny.folder / "averaged").rglob("*"))


@pytest.mark.long
def test_the_best_average_is_kept_where_the_best_model_is_asked_for(tiny: Tiny) -> None:
    """The lowest accuracy is asked for, which a far too high learning rate has somewhere on its way."""
    own = {"average": 0.5, "load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    own |= {"save_strategy": "steps", "max_steps": 6, "learning_rate": 1e-1, "output_dir": str(tiny.folder / "best")}
    own |= {"metric_for_best_model": "accuracy", "greater_is_better": False}
    values = tiny.recipe | {"control": False}
    values["training"] = values["training"] | own
    build.from_recipe(tiny.write(values)).run()
    (run,) = report.load(tiny.folder / "best").models["student"].runs
    seen = [row.eval["accuracy"] for row in run.history if row.eval]
    assert min(seen) < seen[-1]
    assert run.metrics["accuracy"] == pytest.approx(min(seen))


@pytest.mark.long
def test_parts_of_a_teacher_can_be_left_as_they_are(tiny: Tiny) -> None:
    values = tiny.recipe | {"control": False}
    values["teacher"]["finetune"] = {"num_train_epochs": 1, "learning_rate": 1e-3, "frozen": ["bert.embeddings"]}
    build.from_recipe(tiny.write(values)).run()
    (kept,) = tiny.folder.rglob("*-seed1*/model.safetensors")
    before, after = load_file(tiny.folder / "teacher" / "model.safetensors"), load_file(kept)
    same = {name for name in after if torch.equal(before[name], after[name])}
    assert {name for name in after if name.startswith("bert.embeddings.")} <= same
    assert not any("attention.self.query" in name for name in same)
