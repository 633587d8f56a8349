"""From a recipe to a `Distiller`. Every problem of its keys, data, models and matches is told at once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from textkd.config import presets, recipe_file
from textkd.config.schema import MatchBlock, Recipe, StageBlock, TeacherBlock, validate
from textkd.config.task_block import auto_class_of, labels_of_task, task_of
from textkd.errors import Collector, TextkdError, fail, hidden, problem, without_secrets
from textkd.experiment import checks
from textkd.experiment.distiller import Distiller
from textkd.experiment.finetune import Finetune
from textkd.models import loading, students
from textkd.models.files import at_home
from textkd.models.randomness import random_from
from textkd.objective.match import Match
from textkd.tasks import Task
from textkd.teachers import CacheOptions, LiveOptions, Recogniser
from textkd.teachers.generation.pseudo_labels import Pseudo
from textkd.training.stages import Stage

log = logging.getLogger("textkd")
NEW_STUDENT = (
    "the student starts from random weights: a black box has no blocks to copy, so all that it knows of images and "
    "texts comes from the lines of this run"
)


def read(file: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """(recipe, plain values) of a YAML file under ``a.b=c`` overrides. Raises `TextkdError` with every bad key."""
    values = recipe_file.load(file, overrides, presets.expand)
    recipe, problems = validate(values)
    if problems or recipe is None:
        raise TextkdError(*problems)
    return recipe, values


def from_recipe(file: str | Path, overrides: Sequence[str] = ()) -> Distiller:
    """The `Distiller` of a recipe, ready to `check` and `run`. If something is wrong with the recipe itself, raises a
    `TextkdError` with that and all that `Distiller.check` finds in the data and the models."""
    values = recipe_file.load(file, overrides, presets.expand)
    recipe, problems = validate(values)
    if recipe is None:
        raise TextkdError(*problems)
    if recipe.about and not problems:
        log.info(recipe.about)
    return _Builder(recipe, values, Path(file).stem, problems).build()


class _Builder:
    """The parts of a recipe, and what is wrong with them."""

    def __init__(self, recipe: Recipe, values: Mapping[str, Any], name: str, problems: Sequence[Any]) -> None:
        self.recipe, self.values, self.name = recipe, values, name
        self.found = Collector()
        self.found.add(*problems)
        self.training = dict(recipe.training)
        self.output = at_home(str(self.training.get("output_dir") or f"runs/{name}"))
        self.training["output_dir"] = str(self.output)
        self.task: Task | None = None
        self.matches = [_match(block) for block in recipe.matches or ()]
        self.stages = [_stage(block) for block in recipe.stages or ()]

    def build(self) -> Distiller:
        found = self.found
        if not self._reported("task"):
            with found.collecting("task"):
                self.task = task_of(self.recipe.task, found)
        if not self._reported("student"):
            with found.collecting("student"):
                students.check_spec(self.recipe.student)
                self._check_new(self.recipe.student)
        made = self._distiller()
        if found.problems:
            known = list(found.problems)
            with found.collecting():  # what is wrong with the rest
                checks.check(made, known)
        found.raise_any()
        return made

    def _distiller(self) -> Distiller:
        recipe, task = self.recipe, self.task
        identity = {k: v for k, v in self.values.items() if k != "about"}
        identity["teacher"] = _without_place(identity.get("teacher"))
        identity["training"] = {k: v for k, v in self.training.items() if k != "output_dir"}
        auto_class = auto_class_of(recipe.task) if task is None else task.output.auto_class
        labels = labels_of_task(task) if "path" in recipe.student else {}  # others have the teacher's
        made = Distiller(
            _Teacher(recipe.teacher, task, auto_class, "path" in recipe.student),
            _Student(self, auto_class, labels),
            task,  # type: ignore[arg-type]  # None: what is wrong with it is told with the rest
            self.matches, self.training, stages=self.stages, control=recipe.control, seeds=recipe.seeds,
            share_encoder=bool(recipe.student.get("share_encoder")), max_length=recipe.max_length,
            pseudo=self._pseudo(), finetune=self._finetune(), cache=self._cache(), live=self._live(),
            name=self.name, recipe=recipe_file.dump(hidden(identity)),
        )  # fmt: skip
        if warning := students.random_init_warning(recipe.student):
            made.warnings.append(warning if recipe.teacher.recogniser is None else NEW_STUDENT)
        return made

    def _check_new(self, spec: Mapping[str, Any]) -> None:
        """What only a student of a model can be."""
        if self.recipe.teacher.recogniser is None:
            return
        fix = "config: {encoder: {num_hidden_layers: 4}, decoder: {decoder_layers: 2}}, or path: FOLDER"
        for key in ("shrink", "share_encoder"):
            if spec.get(key):
                asked, found = f"student {key}: {spec[key]!r}", "the teacher is a black box: it has no blocks to take"
                self.found.add(problem(asked, found, fix=fix, where=key))
        if spec.get("config"):
            students.sketched(spec["config"])

    def _pseudo(self) -> Pseudo | None:
        block = self.recipe.pseudo
        given = {} if block is None else {name: getattr(block, name) for name in type(block).model_fields}
        return None if block is None else Pseudo(**given, keep=self._keep)

    @property
    def _keep(self) -> Path:
        """The folder for what teachers are and say."""
        keep = self.recipe.teacher.keep
        return at_home(keep) if keep else self.output.parent / "teachers"

    def _cache(self) -> dict[str, Any] | None:
        """The options of the teacher's cache, which is where teachers are kept."""
        block = self.recipe.teacher.cache
        if not block:
            return None
        options = dict(block) if isinstance(block, dict) else {}
        with self.found.collecting("teacher.cache"):
            CacheOptions.of(options)
            return {"folder": str(self._keep / "taps"), **options}
        return None

    def _live(self) -> LiveOptions:
        """How the teacher is run."""
        with self.found.collecting("teacher"):
            given = self.recipe.teacher
            return LiveOptions(given.precision, given.device, given.sharded)
        return LiveOptions()

    def _finetune(self) -> Finetune | None:
        block, name = self.recipe.teacher, "none" if self.task is None else self.task.name.replace("/", "-")
        if block.finetune is None:
            return None
        one = [] if block.finetune.matches is None else [StageBlock(matches=block.finetune.matches)]
        if one and block.finetune.stages:
            fix, where = "put the matches into the stages", "teacher.finetune.matches"
            self.found.add(problem("matches and stages", "both are given", fix=fix, where=where))
        stages = [_stage(stage) for stage in block.finetune.stages or one]
        key = cache(lambda: f"{name}-{self._teacher_key()}")
        return Finetune(block.finetune.training, self._keep, key, stages, block.finetune.frozen)

    def _teacher_key(self) -> str:
        """A hash of all that a fine-tuned teacher depends on: its weights, the data, the arguments."""
        block = self.recipe.teacher
        given = {} if block.finetune is None else without_secrets(block.finetune.dumped())
        arguments = sorted((k, v) for k, v in given.items() if k != "seed")
        made = json.dumps(block.config, sort_keys=True)
        weights = loading.fingerprint(block.path) if block.config is None else made
        assert self.task is not None
        parts = [weights, self.task.fingerprint(), arguments, self.recipe.max_length or self.task.default_length]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:10]

    def _reported(self, *rooms: str) -> bool:
        return any(p.where in rooms for p in self.found.problems)


class _Student:
    """Makes the student of a recipe: one of the teacher's; beside a black box a new one."""

    def __init__(self, builder: _Builder, auto_class: Any, labels: Mapping[str, Any]) -> None:
        self.builder, self.auto_class, self.labels = builder, auto_class, labels

    def content(self) -> str:
        """A hash of the files that it is loaded from, if any."""
        spec = self.builder.recipe.student
        return loading.fingerprint(spec["path"]) if "path" in spec else ""

    def __call__(self, teacher: Any, seed: int) -> Any:
        recipe = self.builder.recipe
        if recipe.teacher.recogniser is not None and "config" in recipe.student:
            return students.new_reader(recipe.student["config"], _tokenizer(self.builder.task))
        return students.build(recipe.student, teacher, self.auto_class, **self.labels)


class _Teacher:
    """Loads the teacher of a recipe, with a head that fits the task where it is fine-tuned on it; or a black box."""

    def __init__(
        self, block: TeacherBlock, task: Task | None, auto_class: Any, student_has_tokens: bool = False
    ) -> None:
        self.block, self.task, self.auto_class = block, task, auto_class
        self.student_has_tokens = student_has_tokens
        self.is_black_box = block.recogniser is not None

    def sketch(self) -> Any:
        """The teacher for checks beside a task that cannot be read. A new one writes made-up tokens where the task's
        cannot be known; None where there is a student with tokens of its own to be compared with."""
        if self.block.config is None:
            return self()
        with suppress(TextkdError), random_from(0):
            return students.new_reader(self.block.config, _tokenizer(self.task))
        with random_from(0):
            made = students.sketched(self.block.config)
        return None if self.student_has_tokens else made

    def __call__(self) -> Any:
        if self.block.recogniser is not None:
            return Recogniser(self.block.recogniser)
        if self.block.config is not None:
            with random_from(0):  # the same weights every time
                return students.new_reader(self.block.config, _tokenizer(self.task))
        block = self.block
        labels = labels_of_task(self.task) if block.finetune is not None else {}
        if labels:  # a head for other labels, as of a teacher that learnt another task before, starts anew
            labels["ignore_mismatched_sizes"] = True
        model, missing = loading.load_model_info(
            block.path, self.auto_class, allow_pickle=block.allow_pickle, expect_sha256=block.sha256, **labels
        )
        if missing and block.finetune is None:
            fix = "teacher.finetune: {num_train_epochs: 3, ...} trains it on the task first"
            raise fail(f"teacher {block.path}", "it has no trained head for this task", fix=fix)
        return model


def _tokenizer(task: Task | None) -> Any:
    """The tokenizer of a task's texts, which a new recogniser is made for."""
    if task is None or not task.output.writes:
        found = "only a task whose answers are written has a use for one"
        raise fail("a new recogniser", found, fix="path: FOLDER_OR_HUB_ID")
    return task.processing("").tokenizer


def _without_place(teacher: Any) -> Any:
    """The teacher's block without where it is (device, sharded), where its cache is and how large it may become:
    another place is no other run."""
    if not isinstance(teacher, Mapping):
        return teacher
    kept = {k: v for k, v in teacher.items() if k not in ("device", "sharded")}
    if not isinstance(kept.get("cache"), Mapping):
        return kept
    return {**kept, "cache": {k: v for k, v in kept["cache"].items() if k not in ("folder", "max_gb")}}


def _match(block: MatchBlock) -> Match:
    return Match(**{name: getattr(block, name) for name in type(block).model_fields})


def _stage(block: StageBlock) -> Stage:
    return Stage([_match(match) for match in block.matches], block.training, block.frozen, block.name)
