"""What tests of graphs ask a run for: models as their training begins, and where finished ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textkd.experiment.distiller import Run
from textkd.training.stages import Stage


def begin(run: Run, model: str, seed: int, **ends: Any) -> Any:
    """A model as its training begins. ends: models that it is made from, as they end; else as they start."""
    training = run.experiment.trainer_of(model)
    assert training is not None
    reads = run.experiment.models[model].source.reads
    return run.setup.models.fresh(training, seed, {name: run.start(name) for name in reads} | ends)[model]


def stages(run: Run, training: str = "student") -> tuple[Stage, ...]:
    """The stages of a training."""
    return run.experiment.training(training).stages


def home(run: Run, model: str, seed: int) -> Path:
    """The folder of a model that is trained."""
    node = run.runner.node_of(model, seed)
    assert node is not None
    return run.runner.homes(node)[model]
