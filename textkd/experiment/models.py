"""The models of an experiment before any training: each is built once, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from torch import nn

from textkd.experiment.plan import Experiment, Training
from textkd.models import loading
from textkd.models.finite import check_finite
from textkd.models.forward import forward_inputs, positions
from textkd.models.randomness import random_from

SOME_SEED = 42  # where the seeds of an experiment are wrong
APART = 7919  # the seeds of models that learn together, so that they do not start alike


class Models:
    """Builds the models of an experiment. Nobody's random numbers change by it."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._starts: dict[int, Any] = {}  # by source: a control starts as its student does

    def start(self, name: str) -> Any:
        """A model before any training, made from others before theirs: to look at, never to train."""
        key = id(source := self.experiment.models[name].source)
        if key not in self._starts:
            made = self._look(name, {one: self.start(one) for one in self._reads(name)}, True)
            if source.is_given and isinstance(made, nn.Module):  # a loaded one was looked at when it was loaded
                check_finite(f"the model {name}", made)
            self._starts[key] = made
        return self._starts[key]

    def made_of(self, name: str, others: Mapping[str, Any]) -> Any:
        """A model before any training where the data cannot be read, made from stand-ins for those that it is made
        from."""
        return self._look(name, {one: others[one] for one in self._reads(name)}, False)

    def sketch(self, name: str) -> Any:
        """What stands for a model where the task's data cannot be read; None where nothing can."""
        sketch = self.experiment.models[name].source.sketch
        with random_from(self.seed):
            return self.start(name) if sketch is None else sketch()

    def fresh(self, training: Training, seed: int, ends: dict[str, Any]) -> dict[str, nn.Module]:
        """The models that a training trains, as they begin; made from `ends`, models by name as they end."""
        made = {}
        for number, name in enumerate(training.trains):
            model = self._build(name, {one: ends[one] for one in self._reads(name)}, (seed + APART * number) % 2**32)
            given = any(model is one for one in (*self._starts.values(), *ends.values()))
            made[name] = loading.clone(model) if given else model
            kind = self.experiment.task.output.head().get("problem_type")
            if kind and hasattr(made[name], "config"):  # its teacher may have had another task
                made[name].config.problem_type = kind
        return made

    @property
    def seed(self) -> int:
        """The first seed."""
        seeds = self.experiment.seeds
        return seeds[0] if seeds and type(seeds[0]) is int and seeds[0] >= 0 else SOME_SEED

    @cached_property
    def running(self) -> dict[str, Any]:
        """Those that are models, by name, as they start; black boxes are none."""
        names = [name for name, spec in self.experiment.models.items() if not spec.is_black_box]
        return {name: self.start(name) for name in names}

    def room(self, max_length: int | None) -> tuple[frozenset[str], int]:
        """The columns that the models take, and how many tokens a row may have."""
        models = list(self.running.values())
        length = max_length or min(self.experiment.task.default_length, *map(positions, models))
        return frozenset().union(*map(forward_inputs, models)), length

    def _reads(self, name: str) -> tuple[str, ...]:
        return self.experiment.models[name].source.reads

    def _look(self, name: str, models: dict[str, Any], readable: bool) -> Any:
        """What is looked at before anything runs. readable: whether the task's data can be read."""
        glance = self.experiment.models[name].source.glance
        if glance is None:
            return self._build(name, models, self.seed)
        with random_from(self.seed):
            return glance(models, readable)

    def _build(self, name: str, models: dict[str, Any], seed: int) -> Any:
        with random_from(seed):
            return self.experiment.models[name].source.make(models, seed)
