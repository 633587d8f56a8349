"""Whether the models of an experiment are there, and fit the task and each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any

from textkd.errors import Problem, TextkdError, problem
from textkd.experiment.encodings import own_tokenizers
from textkd.experiment.look import Look
from textkd.experiment.plan import ModelSpec, Training
from textkd.models import loading
from textkd.models.forward import positions
from textkd.models.saved import lost_when_saved
from textkd.models.students.vocabulary import is_cut_alike, kept_of
from textkd.tasks import Task
from textkd.teachers.generation.recipe_keys import BLACK_BOX


def teachers(look: Look) -> None:
    for name in look.setup.teachers:
        spec = look.experiment.models[name]
        if spec.is_black_box:
            with look.found.collecting(f"{spec.where}.{BLACK_BOX}"):
                look.models.start(name)
        # a bad key beside the path leaves the model as it is
        elif not look.places & {spec.where, f"{spec.where}.path", f"{spec.where}.{BLACK_BOX}"}:
            with look.found.collecting(spec.where):
                _teacher(look, name)
    _unused_options(look)


def _teacher(look: Look, name: str) -> None:
    readable = look.task is not None and not look.bad("task")
    model = look.models.start(name) if readable else look.models.sketch(name)
    if model is not None:
        look.loaded[name] = model
    _read_tokenizer(look, readable, model)
    if readable and look.task is not None:
        unfit = look.task.output.fits(model, _words_of(look, name))
        if not unfit and look.experiment.trainer_of(name) is None:
            unfit = look.task.output.strange(model)
        look.found.add(*unfit)
    if model is not None and look.experiment.trainer_of(name) is not None:
        look.found.add(*_lost(model))
    targets = look.setup.targets
    if targets is not None and model is not None and not look.bad("pseudo"):
        targets.reader(model, look.tokenizer)


def _read_tokenizer(look: Look, readable: bool, model: Any) -> None:
    """The tokenizer of all models; without a folder of the teacher's it is the task's own, or made of its texts:
    what is wrong with it is told there."""
    if look.tokenizer is None and not look.bad("task.processor"):
        told = not readable and not getattr(model, "name_or_path", "")
        first = next(name for name, spec in look.experiment.models.items() if not spec.is_black_box)
        told = told or first not in look.loaded  # it is the first model's, and what is wrong with that is told as its
        with suppress(TextkdError) if told else nullcontext():
            look.tokenizer = look.setup.rows.tokenizer


def _unused_options(look: Look) -> None:
    """Options of the task that a tokenizer from a folder leaves without effect."""
    if look.task is not None and not look.bad("task"):
        names = [name for name, spec in look.experiment.models.items() if not spec.is_black_box and name in look.loaded]
        with look.found.collecting("task"):
            look.found.add(*look.task.unused(look.setup.rows.folder_of(names[0]) if names else ""))


def _words_of(look: Look, name: str) -> Any:
    """The tokenizer of a model, which may have one of its own."""
    own = own_tokenizers(look.tokenizer, {name: look.loaded[name]})
    return own.get(name, look.tokenizer)


def students(look: Look) -> None:
    seen = set[int]()
    for name, spec in look.experiment.models.items():
        if spec.teaches or id(spec.source) in seen:  # a control begins as its student does
            continue
        seen.add(id(spec.source))
        if look.spoilt(spec.where) or not _can_be_made(look, spec):
            continue
        with look.found.collecting(spec.where):
            readable = look.task is not None and not look.bad("task")
            made = look.models.start(name) if readable else look.models.made_of(name, look.loaded)
            _student(look, name, made)
    _together(look)
    lengths = list(look.loaded.values())
    look.found.add(*_length_problems(look.setup.rows.max_length, lengths))


def _together(look: Look) -> None:
    """Whether all models can read the same batches, which are made for the first, as the teachers have learnt to."""
    if look.task is None or not look.loaded:
        return
    first, *others = look.loaded
    for name in others:
        if kept_of(look.loaded[name]) is not None:
            continue  # its batches are its own
        with look.found.collecting(look.experiment.models[name].where):
            look.found.add(*look.task.output.beside(look.loaded[name], look.loaded[first]))
    if not look.found.problems and not look.places:
        with look.found.collecting("" if len(look.setup.teachers) > 1 else look.experiment.models[first].where):
            _ = look.setup.rows.suited


def _can_be_made(look: Look, spec: ModelSpec) -> bool:
    """Whether the models are there that a student is made from; beside a black box, whether the task is."""
    boxes = [one for one in look.experiment.models.values() if one.is_black_box]
    made_from = [name for name in spec.source.reads if name not in look.loaded]
    if boxes:
        return not made_from and look.task is not None and not look.bad_any("task", *(one.where for one in boxes))
    if len(look.setup.teachers) > 1 and spec.source.reads:  # beside those that are not there it can be made and tried
        return not made_from
    alone = not spec.source.reads  # of a folder: nothing of a teacher is needed
    return not made_from and (alone or all(name in look.loaded for name in look.setup.teachers))


def _student(look: Look, name: str, student: Any) -> None:
    training = look.experiment.trainer_of(name)
    others = () if training is None else training.reads
    own, theirs = look.tokenizer, loading.own_tokenizer(student)
    own, theirs = (getattr(one, "tokenizer", one) for one in (own, theirs))  # a processor has one inside
    for other in others:
        if other in look.loaded and not look.bad(look.experiment.models[other].where):
            wrong = loading.check_pair(look.loaded[other], student, own, theirs)
            own_words = (
                bool(own_tokenizers(look.tokenizer, {other: look.loaded[other]})) or kept_of(student) is not None
            )
            look.found.add(*(p for p in wrong if not _is_fine(look, p, student, own_words)))
    if look.boxes or not look.setup.teachers:  # no teacher has brought one
        look.tokenizer = look.setup.rows.tokenizer
    known = look.task is not None and look.tokenizer is not None
    places = [look.experiment.models[other].where for other in look.setup.teachers]
    known = known and not look.bad_any("task", *places) and not look.spoilt("student")
    words = own_tokenizers(look.tokenizer, {name: student}).get(name, look.tokenizer)
    unfit = look.task.output.fits(student, words) if known and look.task is not None else []
    look.found.add(*unfit, *_lost(student), *_unwritten(training, student))
    if not unfit:
        look.loaded[name] = student


def _unwritten(training: Training | None, student: Any) -> list[Problem]:
    """A student that knows the pieces of the training texts alone, and shall learn from others."""
    if training is None or training.targets is None or kept_of(student) is None:
        return []
    what = "a teacher writes what it learns from (pseudo), in pieces that nobody knows before"
    fix = "leave one of the two out"
    return [problem("vocabulary beside pseudo", what, fix=fix, where="vocabulary")]


def _lost(model: Any) -> list[Problem]:
    """Whether a model that is trained here could be loaded from the folder that a run ends in."""
    lost = lost_when_saved(model)
    fix = "give a model that from_pretrained loads from the folder that its save_pretrained writes"
    return [problem(f"a folder of {type(model).__name__}", f"it could not be loaded: {lost}", fix=fix)] if lost else []


def _is_fine(look: Look, wrong: Problem, student: Any, own_words: bool) -> bool:
    """Beside a task with classes, the names of each model are looked at beside the task's. A teacher with words of its
    own reads its own rows."""
    if own_words and "token" in wrong.asked:  # but what stands at each token can only be compared at the same tokens
        return look.task is None or not look.task.output.per_token or is_cut_alike(student)
    return "order" in wrong.asked and _class_names(look.task) is not None


def _class_names(task: Task | None) -> list[str] | None:
    """The names of the task's classes; None where it has none, or they cannot be read."""
    with suppress(TextkdError):
        names = None if task is None else task.output.labels
        return None if names is None else [str(name) for name in names]
    return None


def _length_problems(max_length: int | None, models: Sequence[Any]) -> list[Problem]:
    if max_length is None:
        return []
    most = min((positions(model) for model in models), default=math.inf)
    if type(max_length) is int and 4 <= max_length <= most:
        return []
    what = (
        f"the models have {most} positions"
        if type(max_length) is int and max_length > most
        else ("a row holds up to 3 special tokens and at least 1 of text")
    )
    fix = f"4 to {most}" if most < math.inf else "give 128, say"
    return [problem(f"max_length: {max_length}", what, fix=f"max_length: {fix}", where="max_length")]
