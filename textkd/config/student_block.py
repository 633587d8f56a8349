"""From a `student:` block of a recipe to where a student comes from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from textkd.config.task_block import labels_of_task
from textkd.errors import Collector, Problem, TextkdError, fail, nearest, problem
from textkd.experiment.labelled import FEW, has_labels, has_words, labelled
from textkd.experiment.other_layers import other_layers
from textkd.experiment.plan import Source
from textkd.experiment.trimmed import trimmed
from textkd.models import loading, students
from textkd.models.files import at_home
from textkd.models.own.rebuilt_words import words_of
from textkd.models.students.vocabulary import inherit
from textkd.models.students.wanted import wanted_of
from textkd.tasks import Kind, Task
from textkd.teachers.cache.keys import identity

FROM = "from"  # the model, or the folder, that a student is made of
VOCABULARY = "vocabulary"


def student_of(
    block: Mapping[str, Any], task: Task | None, auto_class: Any, made_from: str, teachers: Collection[str],
    new: Callable[[Mapping[str, Any]], Any] | None, max_length: int | None = None,
) -> Source:  # fmt: skip
    """Where a student comes from.

    Args:
        block: one of `shrink`, `grow`, `recurrent`, `path` and `config`, and perhaps `from`, `vocabulary`, `factorise`
            and `cheap`; the last three are done in this order.
        task: gives the head of a student that is loaded, or made of a model that has not learnt the task.
        auto_class: what loads its models.
        made_from: the name of the model that it is made of, "" without one.
        teachers: the names of all teachers: a `from` that is none of them is a folder or a hub id.
        new: makes a model from nothing of a config, where the teacher is a black box and has nothing to be made of.
        max_length: tokens per row, as the recipe says.
    """
    made = _whole(block, task, auto_class, made_from, teachers, new, max_length)
    wanted = wanted_of(block.get(VOCABULARY))
    made = made if wanted is None else trimmed(made, wanted, task)
    words = words_of(block)
    return other_layers(made, words) if words else made


def _whole(
    block: Mapping[str, Any], task: Task | None, auto_class: Any, made_from: str, teachers: Collection[str],
    new: Callable[[Mapping[str, Any]], Any] | None, max_length: int | None,
) -> Source:  # fmt: skip
    """`student_of`, with the vocabulary of what it is made of."""
    spec = {key: value for key, value in block.items() if key not in (FROM, VOCABULARY)}
    asked = str(block.get(FROM, ""))
    labels = labels_of_task(task)
    if new is not None and "config" in spec:
        return Source(lambda models, seed: new(spec["config"]), kind="made new", told=spec)
    if "path" in spec:
        own = lambda models, seed: students.begin(spec, models.get(made_from), auto_class, **labels)  # noqa: E731
        needed = (made_from,) if made_from and spec.get("share_encoder") else ()
        told = {key: value for key, value in spec.items() if key != "path"}  # the files are known by their content
        kind = f"loaded from {spec['path']}"
        return Source(own, needed, lambda: loading.fingerprint(spec["path"]), kind=kind, told=told)
    if asked and asked not in teachers:
        return _of_folder(spec, asked, auto_class, labels, teachers, Rows(spec, task, max_length, asked))
    name, rows = asked or made_from, Rows(spec, task, max_length)
    cut = lambda models, seed: inherit(rows.build(models[name], auto_class, seed), models[name])  # noqa: E731
    look = lambda models, readable: inherit(rows.glance(models[name], auto_class, readable), models[name])  # noqa: E731
    return Source(cut, (name,), glance=look if rows.measured else None, kind=f"made of {name}", told=spec)


class Rows:
    """The rows on which the parts of a narrower student are chosen.

    Args:
        spec: the block of the student.
        task: whose rows they are; None: there are none.
        max_length: tokens per row, as the recipe says.
        folder: of the model that it is made of, where that teaches nothing.
    """

    def __init__(self, spec: Mapping[str, Any], task: Task | None, max_length: int | None, folder: str = "") -> None:
        self.spec, self.task, self.max_length, self.folder = spec, task, max_length, folder
        shrunk = spec.get("shrink")
        self.block = shrunk if isinstance(shrunk, Mapping) else {}
        asked = any(self.block.get(width) is not None for width in students.WIDTHS)
        self.measured = asked and self.block.get("by") != "magnitude"
        self.drawn = any(key in spec for key in ("config", *students.MORE))
        self.last: tuple[str, Any] = "", None  # the student that was measured last, by what it was made of

    def __call__(self, model: Any, few: bool = False, learnt: bool = True) -> Iterable[Mapping[str, Any]] | None:
        """Batches of one row; None where weights alone are looked at. learnt: the model has learnt the task's labels,
        so that the loss of its head says something."""
        by = self.block.get("by")
        if not self.measured or self.task is None or (by is None and not learnt):
            return None
        if not learnt and by in students.BY_LOSS:
            found = f"the head of {self.folder} is new: it has not learnt the labels of this task"
            fix = "by: activation or by: magnitude, or make the student of a teacher that has learnt them"
            raise fail(f"student shrink by: {by}", found, fix=fix, where="shrink.by")
        if not has_labels(self.task, model, self.folder):
            if by is None:
                return None
            found, fix = "no training row has a label: all are read by the teacher", "by: magnitude, or leave it out"
            raise fail(f"student shrink by: {by}", found, fix=fix, where="shrink.by")
        count = FEW if few else int(self.block.get("rows") or students.ROWS)
        return labelled(self.task, model, self.folder, count, self.max_length, few=few)

    def build(self, model: Any, auto_class: Any, seed: int, learnt: bool = True) -> Any:
        """The student. A control begins as it does: what is made of the same model is measured once."""
        examples = self(model, learnt=learnt)
        if examples is None:
            return students.begin(self.spec, model, auto_class)
        key = f"{identity(model, None)} {seed if self.drawn else ''}"  # a new side, or noise, is drawn
        if self.last[0] != key:
            self.last = key, students.begin(self.spec, model, auto_class, examples=examples)
        return loading.clone(self.last[1])

    def glance(self, model: Any, auto_class: Any, readable: bool, learnt: bool = True) -> Any:
        """A student of the same sizes that is made sooner: of few rows, or by its weights where no rows are to be
        had."""
        examples = self(model, True, learnt)
        by_weights = self.task is not None and examples is None
        if by_weights or (readable and self.task is not None and has_words(self.task, model, self.folder)):
            return students.begin(self.spec, model, auto_class, examples=examples)
        plain = {key: value for key, value in self.block.items() if key not in students.HOW}
        return students.begin({**self.spec, "shrink": plain}, model, auto_class)


def _of_folder(
    spec: Mapping[str, Any], folder: str, auto_class: Any, labels: Mapping[str, Any], teachers: Collection[str],
    rows: Rows,
) -> Source:  # fmt: skip
    """A student made of a pretrained model that teaches nothing, with a head for the task."""
    head = {**labels, "ignore_mismatched_sizes": True} if labels else {}

    def make(models: Mapping[str, Any], seed: int) -> Any:
        model, learnt = _loaded(folder, auto_class, head, teachers)
        return rows.build(model, auto_class, seed, learnt)

    def look(models: Mapping[str, Any], readable: bool) -> Any:
        model, learnt = _loaded(folder, auto_class, head, teachers)
        return rows.glance(model, auto_class, readable, learnt)

    return Source(make, (), lambda: loading.fingerprint(folder), glance=look if rows.measured else None,
                  kind=f"made of {folder}", folder=folder, told=spec)  # fmt: skip


def _loaded(folder: str, auto_class: Any, head: Mapping[str, Any], teachers: Collection[str]) -> tuple[Any, bool]:
    """The model of a folder or hub id, and whether its head is there, too. Where there is none, the name may have been
    meant for a teacher's."""
    try:
        model, missing = loading.load_model_info(folder, auto_class, **head)
        return model, not missing
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


def new_problems(spec: Mapping[str, Any], kind: Kind | None) -> list[Problem]:
    """What only a student of a model can be, beside a teacher that is a black box. kind: of the task."""
    fix = "config: {encoder: {num_hidden_layers: 4}, decoder: {decoder_layers: 2}}, or path: FOLDER"
    what = "the teacher is a black box: it has no blocks to take"
    found = Collector()
    found.add(*(problem(f"student {key}: {spec[key]!r}", what, fix=fix, where=key) for key in students.taken(spec)))
    if spec.get("config") and kind is not None:
        with found.collecting():
            kind.new_model(spec["config"])
    return found.problems
