"""Recipes: YAML with strict keys and dotted overrides, turned into a `Distiller`; every error at once, with its path."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textkd import pretrained, students, tasks
from textkd.distiller import Distiller, Finetune
from textkd.errors import Collector, Problem, TextkdError, fail, nearest, problem
from textkd.matches import Match
from textkd.methods.stages import Stage


log = logging.getLogger("textkd")


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MatchBlock(_Block):
    """One line of `matches:`; see `textkd.Match`."""

    tap: str = ""
    student: str = ""
    teacher: str = ""
    loss: str | None = None
    weight: int | float = 1.0
    schedule: str | dict[str, Any] | None = None
    temperature: int | float | dict[str, Any] | None = None
    layers: str | dict[int, int] | list[list[int]] | None = None
    projection: str | None = "auto"
    options: dict[str, Any] = Field(default_factory=dict)

    def build(self) -> Match:
        return Match(**{name: getattr(self, name) for name in type(self).model_fields})


class TeacherBlock(_Block):
    """path: folder, hub id or package:NAME/FOLDER. finetune: TrainingArguments that train it on the task first, once.
    keep: where fine-tuned teachers stay (default: `teachers` beside the run folder). sha256: of its weights file."""

    path: str
    finetune: dict[str, Any] | None = None
    keep: str | None = None
    sha256: str | None = None
    allow_pickle: bool = False


class StageBlock(_Block):
    """One stage: its own matches, and what differs in training and frozen parts."""

    name: str = ""
    matches: list[MatchBlock]
    training: dict[str, Any] = Field(default_factory=dict)
    frozen: list[str] = Field(default_factory=list)

    def build(self) -> Stage:
        return Stage([match.build() for match in self.matches], self.training, self.frozen, self.name)


class Recipe(_Block):
    """A whole recipe. about: a sentence on what it does and how long it takes, shown first."""

    about: str = ""
    task: dict[str, Any]
    teacher: TeacherBlock
    student: dict[str, Any]
    training: dict[str, Any] = Field(default_factory=dict)
    matches: list[MatchBlock] | None = None
    stages: list[StageBlock] | None = None
    control: bool = True
    seeds: list[int] | None = None
    max_length: int = 128


def read(file: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """(recipe, plain values) of a YAML file under ``a.b=c`` overrides. Raises `TextkdError` with every bad key."""
    path = Path(file)
    if not path.is_file():
        near = [str(p) for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise fail(f"recipe {file}", "no such file", near=(str(file), near), fix="textkd ls recipes")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise fail(f"recipe {file}", f"not UTF-8 (byte {error.start})", fix="save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise fail(f"recipe {file}", f"not YAML: {' '.join(str(error).split())}", fix="mend that line") from error
    if not isinstance(values, dict):
        raise fail(f"recipe {file}", f"a {type(values).__name__}, not keys and values", fix="see recipes/quickstart.yaml")
    found = Collector()
    for text in overrides:
        with found.collecting():
            _override(values, text)
    recipe = None
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        found.add(*(_problem(one, values) for one in _without_echoes(error)))
    found.raise_any()
    assert recipe is not None
    return recipe, values


def distiller(file: str | Path, overrides: Sequence[str] = ()) -> Distiller:
    """The `Distiller` of a recipe. Raises `TextkdError` with what is wrong in the recipe itself; `Distiller.check` then
    looks at data and models."""
    recipe, values = read(file, overrides)
    if recipe.about:
        log.info(recipe.about)
    name = Path(file).stem
    training = dict(recipe.training)
    output = Path(str(training.get("output_dir", f"runs/{name}")))
    training["output_dir"] = str(output)
    found = Collector()
    task = teacher = None
    with found.collecting("task"):
        task = _task(recipe.task)
    if bool(recipe.matches) == bool(recipe.stages):
        found.add(problem("matches or stages", "both" if recipe.matches else "neither", fix="give one of the two", where="matches"))
    with found.collecting("student"):
        students.check_spec(recipe.student)
    with found.collecting("teacher"):
        teacher = _Teacher(recipe.teacher, task)
        if task is not None:
            teacher()
    if task is not None and teacher is not None and not teacher.has_head and recipe.teacher.finetune is None and not found.problems:
        found.add(problem(f"teacher {recipe.teacher.path}", "it has no trained head for this task", where="teacher",
                          fix="teacher.finetune: {num_train_epochs: 3, ...} trains it on the task first"))  # fmt: skip
    found.raise_any()
    assert task is not None and teacher is not None
    identity = {k: v for k, v in values.items() if k != "about"}
    identity["training"] = {k: v for k, v in training.items() if k != "output_dir"}
    finetune = _finetune(recipe, task, teacher, output) if recipe.teacher.finetune is not None else None
    seeds = recipe.seeds or [int(training.get("seed", 42))]
    return Distiller(
        teacher, lambda model, seed: students.build(recipe.student, model, task.auto_class, **task.model_kwargs()), task,
        [match.build() for match in recipe.matches or ()], training, stages=[stage.build() for stage in recipe.stages or ()],
        control=recipe.control, seeds=seeds, max_length=recipe.max_length, finetune=finetune, name=name,
        recipe=yaml.safe_dump(identity, sort_keys=False, allow_unicode=True),
    )  # fmt: skip


def _task(block: Mapping[str, Any]) -> Any:
    """{name: glue, subset: sst2, path: DIR} or {name: text, train: FILE, ...}: the options are those of the task's function."""
    options = dict(block)
    name = str(options.pop("name", ""))
    if name == "glue" and "subset" in options:
        name = f"glue/{options.pop('subset')}"
    if name not in tasks.TASK_NAMES:
        raise fail(f"task {name or '(no name)'}", "no such task", near=(name, tasks.TASK_NAMES), where="name",
                   fix=f"one of {', '.join(tasks.TASK_NAMES)}")  # fmt: skip
    known = set(inspect.signature(tasks.text if name == "text" else tasks.glue).parameters) - {"subset"}
    found = Collector()
    found.add(*(problem(f"{key}: {options[key]!r}", f"task {name} has no such option", near=(key, known), where=key,
                        fix=f"one of {', '.join(sorted(known))}") for key in options if key not in known))  # fmt: skip
    found.raise_any()
    try:
        return tasks.get(name, **options)
    except TypeError as error:
        raise fail(f"task {name}", str(error), fix=f"its options: {', '.join(sorted(known))}") from error


class _Teacher:
    """Loads the teacher of a recipe with a head that fits the task; `has_head` is False where that head is new."""

    def __init__(self, block: TeacherBlock, task: Any) -> None:
        self.block, self.task, self.has_head = block, task, True
        self._model: Any = None

    def __call__(self) -> Any:
        self._model = self._model or self._load()
        return self._model

    def _load(self) -> Any:
        kwargs = self.task.model_kwargs() if self.block.finetune is not None else {}
        model, missing = pretrained.load_model_info(
            self.block.path, self.task.auto_class, allow_pickle=self.block.allow_pickle, expect_sha256=self.block.sha256, **kwargs
        )
        self.has_head = not missing
        return model


def _finetune(recipe: Recipe, task: Any, teacher: _Teacher, output: Path) -> Finetune:
    """The key holds all that a fine-tuned teacher depends on: its weights, the data, the arguments."""
    arguments = {k: v for k, v in (recipe.teacher.finetune or {}).items() if k != "seed"}
    parts = [pretrained.fingerprint(recipe.teacher.path), task.fingerprint(), sorted(arguments.items()), recipe.max_length]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:10]
    keep = Path(recipe.teacher.keep) if recipe.teacher.keep else output.parent / "teachers"
    return Finetune(recipe.teacher.finetune or {}, keep, f"{task.name.replace('/', '-')}-{key}")


def _override(values: dict[str, Any], text: str) -> None:
    path, equals, right = text.partition("=")
    if not equals or not path:
        raise fail(f"override {text!r}", "no `=`", fix="a.b=value, as training.seed=1")
    try:
        value = yaml.safe_load(right)
    except yaml.YAMLError as error:
        raise fail(f"override {text!r}", "the value is not YAML", fix="quote it") from error
    *parents, last = path.split(".")
    at: Any = values
    for name in parents:
        at = _step(at, name, text) if isinstance(at, list) else at.setdefault(name, {}) if isinstance(at, dict) else None
        if at is None:
            at = {}
        if not isinstance(at, dict | list):
            raise fail(f"override {text!r}", f"{name} is {at!r}, not a block", fix="name a key inside a block")
    if isinstance(at, list):
        _step(at, last, text)
        at[int(last)] = value
    else:
        at[last] = value


def _step(items: list[Any], name: str, text: str) -> Any:
    if not name.lstrip("-").isdigit() or not -len(items) <= int(name) < len(items):
        raise fail(f"override {text!r}", f"{name} is no index of a list of {len(items)}", fix=f"0 to {len(items) - 1}")
    return items[int(name)]


FIELDS: dict[str, type[BaseModel]] = {"": Recipe, "teacher": TeacherBlock, "stages": StageBlock, "matches": MatchBlock}


def _without_echoes(error: ValidationError) -> list[Any]:
    """One error per place: a union reports every alternative that failed."""
    first: dict[tuple[Any, ...], Any] = {}
    for one in error.errors():
        place = tuple(p for p in one["loc"] if not (isinstance(p, str) and ("[" in p or p in ("int", "float", "str", "bool"))))
        first.setdefault(place, {**one, "loc": place})
    return list(first.values())


def _problem(error: Any, values: Mapping[str, Any]) -> Problem:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    name = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        owner = [part for part in error["loc"][:-1] if isinstance(part, str)]
        known = FIELDS[owner[-1] if owner else ""].model_fields
        return Problem(f"{name}: {error['input']!r}", "unknown key", nearest(name, known), f"one of {', '.join(known)}", where)
    if error["type"] == "missing":
        return Problem(name, "not given", (), f"add {where}:", where)
    return Problem(f"{error['input']!r}", error["msg"], (), "", where)

