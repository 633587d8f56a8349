"""A check encodes no more rows than it tries; these are the first ones of all."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_lab import Tiny

from textkd import from_recipe
from textkd.tasks import TextTask


def test_a_check_encodes_a_few_rows_that_are_the_first_of_all(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    made, whole = from_recipe(tiny.write(tiny.recipe)), TextTask.encode

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("all rows are encoded")

    monkeypatch.setattr(TextTask, "encode", refused)
    made.check()
    assert "64 training and 32 evaluation examples" in made.plan()[0]
    few = made.setup.rows.sample(made.experiment.trainings[0])
    monkeypatch.setattr(TextTask, "encode", whole)
    every = made.data.sample()
    assert few.keys() == every.keys()
    assert all(few[name].equal(every[name]) for name in few)


def test_a_task_that_encodes_rows_in_its_own_way_is_looked_at_in_that_way(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(TextTask):
        def encode(self, *args: Any, **more: Any) -> Any:
            return super().encode(*args, **more).select(range(10))

    made = from_recipe(tiny.write(tiny.recipe))
    monkeypatch.setattr(made.experiment.task, "__class__", Own)
    assert made.setup.rows.sizes == (10, 10)
