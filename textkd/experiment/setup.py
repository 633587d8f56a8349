"""An experiment with all that it runs on: its folder, its models as they start, its rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from textkd.experiment.data import Rows
from textkd.experiment.models import Models
from textkd.experiment.plan import Experiment
from textkd.experiment.storage import RunFolder
from textkd.tasks import Task
from textkd.teachers.generation.pseudo_labels import Pseudo, Targets


@dataclass(frozen=True)
class Setup:
    """What a run needs.

    Args:
        experiment: what to run.
        folder: of the run.
        models: as they start.
        rows: what they learn from and are judged on.
        pseudo: how a teacher writes texts, where it does.
        is_doubled: somebody gave matches and stages.
    """

    experiment: Experiment
    folder: RunFolder
    models: Models
    rows: Rows
    pseudo: Pseudo | None = None
    is_doubled: bool = False

    @property
    def task(self) -> Task | None:
        """The task; None where what it is made of is wrong."""
        return next(iter(self.experiment.tasks.values()), None)

    @property
    def targets(self) -> Targets | None:
        """What a teacher writes, where it does."""
        return self.rows.targets

    def settle(self) -> None:
        """Keeps with the run what was measured for it on this machine."""
        for spec in self.experiment.models.values():
            spec.source.settle()

    @cached_property
    def teachers(self) -> list[str]:
        """The names of the models that teach."""
        return [name for name, spec in self.experiment.models.items() if spec.teaches]

    @cached_property
    def own(self) -> dict[int, tuple[Any, str]]:
        """Somebody's own functions and modules, each with the hash of its content, by their ids. They are held here: an
        id is another object's once its own is gone."""
        return {}

    @cached_property
    def hashes(self) -> dict[int, str]:
        """Texts that change with what models are made from, by their sources: weights are read once."""
        return {}
