"""From a `student:` block of a recipe to where a student comes from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from textkd.config.task_block import labels_of_task
from textkd.errors import TextkdError, nearest, problem
from textkd.experiment.plan import Source
from textkd.experiment.trimmed import trimmed
from textkd.models import loading, students
from textkd.models.files import at_home
from textkd.models.students.wanted import wanted_of
from textkd.tasks import Task

FROM = "from"  # the model, or the folder, that a student is made of
VOCABULARY = "vocabulary"


def student_of(
    block: Mapping[str, Any], task: Task | None, auto_class: Any, made_from: str, teachers: Collection[str],
    new: Callable[[Mapping[str, Any]], Any] | None,
) -> Source:  # fmt: skip
    """Where a student comes from.

    Args:
        block: one of `shrink`, `path` and `config`, and perhaps `from`.
        task: gives the head of a student that is loaded, or made of a model that has not learnt the task.
        auto_class: what loads its models.
        made_from: the name of the model that it is made of, "" without one.
        teachers: the names of all teachers: a `from` that is none of them is a folder or a hub id.
        new: makes a model from nothing of a config, where the teacher is a black box and has nothing to be made of.
    """
    made = _whole(block, task, auto_class, made_from, teachers, new)
    wanted = wanted_of(block.get(VOCABULARY))
    return made if wanted is None else trimmed(made, wanted, task)


def _whole(
    block: Mapping[str, Any], task: Task | None, auto_class: Any, made_from: str, teachers: Collection[str],
    new: Callable[[Mapping[str, Any]], Any] | None,
) -> Source:  # fmt: skip
    """`student_of`, with the vocabulary of what it is made of."""
    spec = {key: value for key, value in block.items() if key not in (FROM, VOCABULARY)}
    asked = str(block.get(FROM, ""))
    labels = labels_of_task(task)
    if new is not None and "config" in spec:
        return Source(lambda models, seed: new(spec["config"]), kind="made new", told=spec)
    if "path" in spec:
        own = lambda models, seed: students.build(spec, models.get(made_from), auto_class, **labels)  # noqa: E731
        needed = (made_from,) if made_from and spec.get("share_encoder") else ()
        told = {key: value for key, value in spec.items() if key != "path"}  # the files are known by their content
        kind = f"loaded from {spec['path']}"
        return Source(own, needed, lambda: loading.fingerprint(spec["path"]), kind=kind, told=told)
    if asked and asked not in teachers:
        return _of_folder(spec, asked, auto_class, labels, teachers)
    name = asked or made_from
    cut = lambda models, seed: students.build(spec, models[name], auto_class)  # noqa: E731
    return Source(cut, (name,), kind=f"made of {name}", told=spec)


def _of_folder(
    spec: Mapping[str, Any], folder: str, auto_class: Any, labels: Mapping[str, Any], teachers: Collection[str]
) -> Source:
    """A student made of a pretrained model that teaches nothing, with a head for the task."""

    def make(models: Mapping[str, Any], seed: int) -> Any:
        head = {**labels, "ignore_mismatched_sizes": True} if labels else {}
        return students.build(spec, _loaded(folder, auto_class, head, teachers), auto_class)

    return Source(make, (), lambda: loading.fingerprint(folder), kind=f"made of {folder}", folder=folder, told=spec)


def _loaded(folder: str, auto_class: Any, head: Mapping[str, Any], teachers: Collection[str]) -> Any:
    """The model of a folder or hub id. Where there is none, the name may have been meant for a teacher's."""
    try:
        return loading.load_model(folder, auto_class, **head)
    except TextkdError as error:
        named = f"; the teachers are {', '.join(teachers)}" if teachers else ""
        found = [replace(p, found=f"{p.found}{named}", nearest=(*p.nearest, *nearest(folder, teachers)), where=FROM)
                 for p in error.problems]  # fmt: skip
        raise TextkdError(*found) from error


def from_problems(block: Mapping[str, Any], students: Collection[str] = ()) -> list[Any]:
    """What is wrong with the key `from` of a student. students: the names of all models that this run makes."""
    if FROM not in block:
        return []
    asked = block[FROM]
    fix = "the name of a teacher, or a folder or hub id"
    if not isinstance(asked, str) or not asked.strip():
        return [problem(f"student from: {asked!r}", "not a name", fix=fix, where=FROM)]
    if "path" in block:
        what = "the student is loaded from its path, so nothing is taken from another model"
        return [problem(f"student from: {asked} beside path", what, fix="leave one of them out", where=FROM)]
    if asked in students and not at_home(asked).is_dir():
        what = "that is a student of this run: it is not there yet when this one is made"
        fix = f"leave from out (a link of a chain is made of the one before it), or {fix}"
        return [problem(f"student from: {asked}", what, fix=fix, where=FROM)]
    return []
