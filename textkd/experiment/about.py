"""One line on what each model of the report is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from torch import nn

from textkd.errors import hidden
from textkd.experiment.plan import Training
from textkd.models.students.copying import is_two_sided
from textkd.models.students.widths import SIDES, have
from textkd.teachers.generation import words

About = Callable[[Any], str]


def teacher(is_trained_here: bool, change: str | None = None) -> About:
    """Of a teacher: where it is from, and whether the run trained it. change: of the case of what it reads."""

    def say(model: Any) -> str:
        if not isinstance(model, nn.Module):
            return words.black_box(model, change)
        # the last part alone: a report that travels need not tell where files lie
        known = PurePath(str(getattr(model, "name_or_path", "") or "")).name
        if not known:
            return "trained on the task by this run" if is_trained_here else "as given"
        return f"{known}, {'fine-tuned on the task by this run' if is_trained_here else 'as given'}"

    return say


def student(training: Training) -> About:
    """Of a student: what it learns from."""

    def say(model: Any) -> str:
        targets = training.targets
        if targets is None:
            several = len(training.reads) > 1
            return f"distilled from {' and '.join(training.reads)}" if several else "distilled from the teacher"
        return words.student(targets) + _also(training)

    return say


def control(training: Training, own: Mapping[str, Any]) -> About:
    """Of a student without a teacher, beside the `training` with one. own: arguments that it alone has."""

    def say(model: Any) -> str:
        more = "".join(f", {name} {_told(value)}" for name, value in hidden(own).items())
        if training.targets is None:
            who = "the same student" if len(training.trains) == 1 else f"the same model as {training.trains[0]}"
            return f"{who}, start, data order and steps, without a teacher{more}"
        return words.control(training.targets) + more

    return say


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def link(before: str) -> About:
    """Of a link of a chain."""
    return lambda model: f"distilled from {before}"


def pruned(number: int, rounds: int, how: str, cost: Callable[[Any], str]) -> About:
    """Of a student after a pruning. number: of the pruning, 0 before the first. how: as of the last one's line. cost:
    f(model) -> what it costs, in words."""

    def say(model: Any) -> str:
        size = f"{sizes(model)}, {cost(model)}"
        if number == rounds:
            each = " after each" if rounds > 1 else ""
            return f"pruned {how}, distilled from the unpruned teacher{each}: {size}"
        return f"pruned {number} of {rounds} times: {size}" if number else f"before it is pruned: {size}"

    return say


def pruned_control(rounds: int) -> Callable[[Training, Mapping[str, Any]], About]:
    """Of a student that is pruned without a teacher."""

    def of(training: Training, own: Mapping[str, Any]) -> About:
        same = "the same pruning" if rounds == 1 else f"the same {rounds} prunings"
        more = "".join(f", {name} {_told(value)}" for name, value in hidden(own).items())
        return lambda model: f"{same}, sizes, data order and steps, without a teacher{more}"

    return of


def sizes(model: Any) -> str:
    """The widths of a model, or of its sides, in words."""
    config = model.config
    sides = [(f"{side} ", getattr(config, side)) for side in SIDES] if is_two_sided(model) else [("", config)]
    found = [(side, have(one)) for side, one in sides]
    return "; ".join(f"{side}heads {one.heads}, hidden {one.hidden}, ffn {one.ffn}" for side, one in found)


def peer(names: Sequence[str]) -> About:
    """Of a student of a cohort."""
    return lambda model: f"learnt together with {len(names) - 1} other{'s' if len(names) > 2 else ''}"


def _also(training: Training) -> str:
    """Whether the student learns from more than texts."""
    taps = [match.tap or match.teacher for stage in training.stages for match in stage.matches]
    return ", and distilled from it" if any(tap != "labels" for tap in taps) else ""
