"""What is trained from what: models, trainings and the experiment that they make, as frozen data.

A name means a model as it ends: trained, where a training trains it, else as its source gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from textkd.deploy.artifact import Artifact
from textkd.errors import Problem, TextkdError, problem
from textkd.tasks import Task
from textkd.teachers import CacheOptions, LiveOptions
from textkd.teachers.generation.pseudo_labels import Targets
from textkd.training.stages import Stage
from textkd.training.trainer import TOGETHER


@dataclass(frozen=True)
class Source:
    """Where a model comes from before any training.

    Args:
        make: f(models, seed) -> the model. models: those of `reads`, as they end. torch's generator begins at `seed`.
        reads: the models that it is made from.
        content: f() -> a text that changes with the files that it is made from; "" where there are none.
        sketch: f() -> what stands for it where the task's data cannot be read; None where nothing can.
        glance: f(models, whether the data can be read) -> what has its shape and is made sooner; None: `make` is quick.
        kind: what makes it, in a few words, for `textkd plan`.
        folder: where its tokenizer is, if the model itself does not say so.
        is_given: `make` gives an object that somebody made: it is known by its weights.
        told: what `make` is told, or somebody's own function: another one makes another model.
        size: f(the model) -> its size in words for `textkd plan`; None: nobody needs to know it before.
        settle: f() keeps with the run what was measured on this machine, before the run begins.
    """

    make: Callable[[Mapping[str, Any], int], Any]
    reads: tuple[str, ...] = ()
    content: Callable[[], str] = lambda: ""
    sketch: Callable[[], Any] | None = None
    glance: Callable[[Mapping[str, Any], bool], Any] | None = None
    kind: str = "as given"
    folder: str = ""
    is_given: bool = False
    told: Any = None
    size: Callable[[Any], str] | None = None
    settle: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class ModelSpec:
    """A model of an experiment.

    Args:
        name: what matches and the report call it.
        source: where it comes from.
        about: f(model) -> one line for the report.
        where: its place in the recipe, for messages.
        teaches: it is a teacher, so it has to fit the task before anything is trained.
        is_black_box: it only gives its answers; nothing inside it can be compared.
        cache: how its taps are kept on disk while others learn from it; None: not at all.
        live: the precision and the device that it is read in and on.
    """

    name: str
    source: Source
    about: Callable[[Any], str] = lambda model: ""
    where: str = ""
    teaches: bool = False
    is_black_box: bool = False
    cache: CacheOptions | None = None
    live: LiveOptions = field(default_factory=LiveOptions)


@dataclass(frozen=True)
class Arguments:
    """A block of TrainingArguments and its place in the recipe, for messages."""

    values: Mapping[str, Any] = field(default_factory=dict)
    where: str = "training"


@dataclass(frozen=True)
class Training:
    """One node of the graph: models that learn, and what they learn from.

    Args:
        name: the node's name.
        trains: the models that learn, together under one optimizer.
        reads: frozen models that matches may name.
        stages: one after the other.
        base: arguments under those of the stages.
        own: arguments over those of the stages.
        seed: of this node; None: the experiment's seeds make one node each.
        task: the name of the task whose rows it learns from.
        targets: the rows that a model of `reads` writes, in place of the task's own.
        steps_of: the training whose optimizer steps it makes, too, from whatever number of rows.
        share_encoder: the encoder of the model that learns is that of the model that is read.
        update: as in `textkd.training.trainer.DistilTrainer`.
        kept: the folder that keeps it for other runs; None: it is this run's.
        key: f(seed) -> its folder's name inside `kept`.
        where: its place in the recipe, for messages.
        has_stages, has_matches: the recipe writes stages, not matches; any of the two (else the labels alone teach).
        is_control: it is a training with a teacher once more, without one.
    """

    name: str
    trains: tuple[str, ...]
    stages: tuple[Stage, ...]
    reads: tuple[str, ...] = ()
    base: Arguments = field(default_factory=Arguments)
    own: Arguments = field(default_factory=Arguments)
    seed: int | None = None
    task: str = "task"
    targets: Targets | None = None
    steps_of: str = ""
    share_encoder: bool = False
    update: str = TOGETHER
    kept: Path | None = None
    key: Callable[[int], str] | None = None
    where: str = ""
    has_stages: bool = False
    has_matches: bool = True
    is_control: bool = False

    def arguments(self, stage: Stage) -> dict[str, Any]:
        """All arguments of a stage."""
        return {**self.base.values, **stage.training, **self.own.values}

    def place(self, number: int) -> str:
        """The place of a stage in the recipe."""
        stage = f"stages[{number}]" if self.has_stages else ""
        return ".".join(part for part in (self.where, stage) if part)


@dataclass(frozen=True)
class Compared:
    """What the report shows.

    Args:
        rows: the models in the order of the report's rows.
        student: the model that the report's first sentence is about.
        teacher: the one that it is held against, "" without one.
        control: the same student without a teacher, "" without one.
    """

    rows: tuple[str, ...]
    student: str
    teacher: str = ""
    control: str = ""


@dataclass(frozen=True)
class Node:
    """A training with one of its seeds."""

    training: Training
    seed: int

    @property
    def name(self) -> str:
        return self.training.name


@dataclass(frozen=True)
class Experiment:
    """A graph of trainings, and what the report compares.

    Args:
        name: for the report.
        tasks: by name.
        models: all models, by name.
        trainings: the nodes.
        report: which models are compared.
        seeds: one run each.
        artifacts: what is shipped beside plain folders.
        recipe: the text that it was made of, "" without one.
        warnings: what the report tells beside its figures.
    """

    name: str
    tasks: Mapping[str, Task]
    models: Mapping[str, ModelSpec]
    trainings: tuple[Training, ...]
    report: Compared
    seeds: tuple[int, ...] = (42,)
    artifacts: tuple[Artifact, ...] = ()
    recipe: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """The task that the report is about."""
        return next(iter(self.tasks.values()))

    def trainer_of(self, model: str) -> Training | None:
        """The training that trains a model; None for models that are used as they are."""
        return next((training for training in self.trainings if model in training.trains), None)

    def training(self, name: str) -> Training:
        """The training of this name."""
        return next(training for training in self.trainings if training.name == name)

    def needs(self, training: Training) -> list[str]:
        """The names of the trainings that have to be done before."""
        read = [*training.reads, *(name for model in training.trains for name in self._made_from(model))]
        before = [one.name for model in read if (one := self.trainer_of(model)) is not None]
        return list(dict.fromkeys([*before, *([training.steps_of] if training.steps_of else [])]))

    def order(self) -> list[Training]:
        """The trainings, each after those that it needs, else as they stand. Raises `TextkdError` for a circle."""
        sorter: TopologicalSorter[str] = TopologicalSorter({one.name: self.needs(one) for one in self.trainings})
        try:
            sorter.prepare()
        except CycleError as error:
            raise TextkdError(_circle(error.args[1])) from error
        names, found, ready = [one.name for one in self.trainings], list[str](), set[str]()
        while sorter.is_active():
            ready |= set(sorter.get_ready())
            first = min(ready, key=names.index)
            ready.remove(first)
            found.append(first)
            sorter.done(first)
        return [self.training(name) for name in found]

    def nodes(self) -> list[Node]:
        """All nodes in an order in which they can run: seed by seed."""
        order = self.order()
        every = [Node(one, seed if one.seed is None else one.seed) for seed in self.seeds for one in order]
        found: dict[tuple[str, int], Node] = {}
        for node in every:
            found.setdefault((node.name, node.seed), node)
        return list(found.values())

    def problems(self) -> list[Problem]:
        """What is wrong with the graph itself: names that nobody has, models that nobody makes, circles."""
        found = [*self._name_problems(), *self._end_problems()]
        if not found:
            try:
                self.order()
            except TextkdError as error:
                found += error.problems
        return found

    def _made_from(self, model: str) -> tuple[str, ...]:
        return self.models[model].source.reads if model in self.models else ()

    def _name_problems(self) -> list[Problem]:
        """Models and trainings that are named and not there."""
        known, found = list(self.models), list[Problem]()
        for training in self.trainings:
            for word, names in (("trains", training.trains), ("reads", training.reads)):
                asked = f"the training {training.name} {word}"
                absent = [name for name in names if name not in known]
                found += [_absent(f"{asked} {name}", name, known, training.where) for name in absent]
        for spec in self.models.values():
            absent = [name for name in spec.source.reads if name not in known]
            found += [_absent(f"{spec.name} is made from {name}", name, known, spec.where) for name in absent]
        absent = [name for name in self.report.rows if name not in known]
        return found + [_absent(f"the report shows {name}", name, known, "") for name in absent]

    def _end_problems(self) -> list[Problem]:
        """Trainings that train nothing, read what they train, or train what another one trains."""
        found = list[Problem]()
        for training in self.trainings:
            if not training.trains:
                what = "no model learns in it"
                found.append(problem(f"the training {training.name}", what, fix="trains=(NAME,)", where=training.where))
            for name in set(training.trains) & set(training.reads):
                what = "it would change while it is read"
                fix = f"leave {name} out of what is read: taps of models that learn can be named, too"
                found.append(problem(f"{training.name} reads {name}, which it trains", what, fix=fix))
        names = [training.name for training in self.trainings]
        for name in sorted({name for name in names if names.count(name) > 1}):
            found.append(problem(f"the training {name}", "another training has this name", fix="another name"))
        owners, fix = dict[str, list[str]](), "give each training a model of its own"
        for training in self.trainings:
            for name in training.trains:
                owners.setdefault(name, []).append(training.name)
        for name, several in owners.items():
            if len(several) > 1:
                found.append(problem(f"the model {name}", f"trained by {' and by '.join(several)}", fix=fix))
        return found


def _absent(asked: str, name: str, known: Sequence[str], where: str) -> Problem:
    what = f"nobody makes it; the models are {', '.join(known)}"
    return problem(asked, what, near=(name, known), fix="name a model that is there", where=where)


def _circle(names: Iterable[str]) -> Problem:
    what = f"a circle: {' <- '.join(names)}"
    return problem("an order of the trainings", what, fix="let one of them read another model")
