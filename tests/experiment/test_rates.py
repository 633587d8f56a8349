"""A learning rate that hardly rises, or falls to nothing at once, is told before a training."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_lab import Tiny

from textkd.config import build
from textkd.experiment import describe
from textkd.experiment.rates import faint

KINDS: list[tuple[dict[str, Any], int, str]] = [  # arguments, steps, what is told
    ({"warmup_steps": 1000}, 12, "1.1 % of learning_rate (5e-05) at most"),
    ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 1e9}}, 12, "100 % of learning_rate"),
    ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 40.0}}, 5000, "2.64 % in the mean of 5,000"),
    ({"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 1000}}, 50,
     "lr_scheduler_kwargs: {'num_decay_steps': 1000}"),
    ({"warmup_steps": 0.06}, 200, ""),
    ({"warmup_steps": 6, "lr_scheduler_type": "cosine"}, 12, ""),
    ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 4.0}}, 12, ""),
    ({"lr_scheduler_type": "inverse_sqrt", "warmup_steps": 100}, 10_000, ""),
    ({"lr_scheduler_type": "reduce_lr_on_plateau"}, 12, ""),
]  # fmt: skip


@pytest.mark.parametrize(("training", "steps", "words"), KINDS)
def test_a_faint_rate_is_told_with_figures(training: dict[str, Any], steps: int, words: str) -> None:
    told = faint(training, steps)
    assert words in told
    assert bool(words) == bool(told)


@pytest.mark.long
def test_it_stands_among_the_notes_of_the_training_that_has_it(tiny: Tiny) -> None:
    values = tiny.recipe
    values["training"] |= {"max_steps": 12}
    values["control"] = {"warmup_steps": 500}
    told = [one for one in describe.notes(build.from_recipe(tiny.write(values)).setup) if "learning rate" in one]
    assert [one.split(":")[0] for one in told] == ["control"]
    assert "look at warmup_steps: 500" in told[0]
    values["control"], values["training"]["max_steps"] = {"warmup_steps": 50}, 9  # a trial of a recipe
    assert not [one for one in describe.notes(build.from_recipe(tiny.write(values)).setup) if "learning rate" in one]
