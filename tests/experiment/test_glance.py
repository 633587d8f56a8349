"""A teacher that cannot be a good one is told before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_lab import Tiny

from textkd import from_recipe
from textkd.experiment import glance
from textkd.experiment.describe import notes
from textkd.tasks.outputs import Classes


def sure(share: float) -> Any:
    """Instead of what the model says: so many of the labels, and of the others their contrary."""

    def predict(self: Any, model: Any, rows: Any, collator: Any) -> Any:
        truth = np.asarray(rows["labels"])
        return np.eye(2)[np.where(np.arange(len(truth)) < share * len(truth), truth, 1 - truth)]

    return predict


def test_a_ready_teacher_below_one_answer_for_all_is_told_first(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = from_recipe(tiny.write(tiny.recipe)).setup
    monkeypatch.setattr(Classes, "predict", sure(0.05))
    told = notes(setup)[0]
    assert told.startswith("teacher: tried on short rows of eval: right in 2 of 32 (always ")
    assert told.endswith("The run judges it on all rows")
    monkeypatch.setattr(Classes, "predict", sure(0.6))
    assert glance.glances(setup) == []


def test_a_teacher_that_is_trained_here_is_not_looked_at_nor_one_that_takes_long(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classes, "predict", sure(0.0))
    setup = from_recipe(tiny.write(tiny.recipe)).setup
    assert len(glance.glances(setup)) == 1
    monkeypatch.setattr(glance, "MOST", 1e3)
    assert glance.glances(setup) == []
    monkeypatch.undo()
    recipe = tiny.recipe
    recipe["teacher"]["finetune"] = {"max_steps": 1}
    monkeypatch.setattr(Classes, "predict", sure(0.0))
    assert glance.glances(from_recipe(tiny.write(recipe)).setup) == []
