"""An experiment that is being looked at before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textkd.errors import Collector, Problem
from textkd.experiment.plan import ModelSpec
from textkd.experiment.setup import Setup
from textkd.tasks import Task


class Look:
    """What is known of an experiment while it is looked at, and what is wrong with it so far."""

    def __init__(self, setup: Setup, known: Sequence[Problem]) -> None:
        self.setup, self.experiment, self.models = setup, setup.experiment, setup.models
        self.task: Task | None = setup.task
        self.places = {p.where for p in known}
        self.found, self.late = Collector(), Collector()  # late: of rows, seen where the first match needs some
        self.loaded: dict[str, Any] = {}  # by name, as far as they are there; no black boxes
        self.tokenizer: Any = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return () if self.task is None else tuple(self.task.output.metric_names)

    def bad(self, room: str) -> bool:
        """Whether anything is wrong with a room of the recipe, as "task"."""
        places = [*self.places, *(p.where for p in self.found.problems)]
        return any(place == room or place.startswith((f"{room}.", f"{room}[")) for place in places)

    def spoilt(self, room: str) -> bool:
        """Whether what is wrong with a block leaves nothing of it: a key that is left out does."""
        inside = (f"{room}.", f"{room}[")
        return room in self.places or any(p.where == room or p.where.startswith(inside) for p in self.found.problems)

    def bad_any(self, *rooms: str) -> bool:
        return any(map(self.bad, rooms))

    @property
    def rows(self) -> int:
        """Rows of the training data; 0 where they are not known, as something is wrong already."""
        bad = self.found.problems or self.late.problems or self.places
        return 0 if bad or self.task is None else self.setup.rows.sizes[0]

    @property
    def boxes(self) -> list[ModelSpec]:
        """The teachers that only read."""
        return [spec for spec in self.experiment.models.values() if spec.is_black_box]

    def of(self, names: Iterable[str]) -> dict[str, Any]:
        """Those of these models that are there, by name."""
        return {name: self.loaded[name] for name in names if name in self.loaded}
