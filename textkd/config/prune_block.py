"""The block `prune` of a recipe: how small a student is to become, of what, and in how many rounds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from textkd.config.schema import PruneBlock
from textkd.config.student_block import Rows
from textkd.errors import Problem, problem
from textkd.experiment.about import sizes
from textkd.experiment.plan import Experiment, Source
from textkd.experiment.pruned import MOST_ROUNDS, UNITS, Pruning, Sizing, Target, prune
from textkd.experiment.shorthand import Common, Teacher
from textkd.models.students import WIDTHS
from textkd.models.students.pruning import CUBIC, ONE_SHOT, SCHEDULES
from textkd.models.students.vocabulary import inherit
from textkd.models.students.widths import HOW, option_problems
from textkd.tasks import Task

KINDS = ("ffn", "heads")  # where nothing is said
ROUNDS = 4
LENGTH = "length"
MILLISECONDS = UNITS[-1]


def pruning_of(block: PruneBlock) -> Pruning:
    """What a block without problems asks for."""
    unit, value = next((key, block.target[key]) for key in UNITS if key in block.target)
    share = _share(unit, value)
    number = float(str(value).rstrip("% ")) if share is None else share
    length = block.target.get(LENGTH)
    target = Target(unit, number, share is not None, None if length is None else int(length))
    kinds = (block.kind,) if isinstance(block.kind, str) else tuple(block.kind or KINDS)
    return Pruning(target, kinds, block.schedule, _rounds(block), float(block.recover or 1), block.by)


def cut_of(block: PruneBlock, sizing: Sizing, task: Task | None, auto_class: Any, max_length: int | None) -> Any:
    """f(round from 0, the name of what is cut, the name of what stands before all cuts) -> the source of a student."""
    how = {key: getattr(block, key) for key in HOW if getattr(block, key) is not None}

    def cut(number: int, before: str, whole: str) -> Source:
        known = dict[str, Rows]()

        def rows(models: Mapping[str, Any]) -> Rows:
            widths = sizing.widths(models[whole], number)
            if str(widths) not in known:  # of every seed and of the look before
                known[str(widths)] = Rows({"shrink": {**widths, **how}}, task, max_length)
            return known[str(widths)]

        def make(models: Mapping[str, Any], seed: int) -> Any:
            return inherit(rows(models).build(models[before], auto_class, seed), models[before])

        def look(models: Mapping[str, Any], readable: bool) -> Any:
            return inherit(rows(models).glance(models[before], auto_class, readable), models[before])

        return Source(
            make, tuple(dict.fromkeys((before, whole))), glance=look, kind=f"pruned {before}", told={"prune": how},
            size=lambda model: f"{sizes(model)}, {sizing.cost(model)}", settle=sizing.settle,
        )  # fmt: skip

    return cut


def pruned_of(
    block: PruneBlock, common: Common, teachers: Mapping[str, Teacher], start: Source | None,
    parts: tuple[Task | None, Any, int | None, Path, str],
) -> tuple[Experiment, list[Problem]]:  # fmt: skip
    """The experiment of a block, and what is wrong with that.

    Args:
        block: where something is wrong with it another one stands for it, so that the rest can be looked at.
        start: the student before it is pruned; None: what the first teacher is.
        parts: the task, what loads its models, tokens per row, the folder of the run, that of the first teacher.
    """
    wrong = [replace(one, where=f"prune.{one.where}") for one in prune_problems(block, start is not None)]
    block = PruneBlock(target={"parameters": 0.5}) if wrong else block
    task, auto_class, max_length, folder, words = parts
    sizing = Sizing(pruning_of(block), task, max_length, folder, words)
    return prune(common, teachers, sizing, cut_of(block, sizing, task, auto_class, max_length), start), wrong


def prune_problems(block: PruneBlock, has_student: bool) -> Iterator[Problem]:
    """What is wrong with a block, whatever model it is for. has_student: the recipe has a block `student`."""
    yield from _target(block.target)
    kinds = [block.kind] if isinstance(block.kind, str) else list(KINDS if block.kind is None else block.kind)
    yield from _kinds(kinds)
    if block.schedule not in SCHEDULES:
        yield problem(f"schedule: {block.schedule}", "no such schedule", near=(block.schedule, SCHEDULES),
                      fix=f"one of {', '.join(SCHEDULES)}", where="schedule")  # fmt: skip
    elif block.schedule == ONE_SHOT and block.rounds not in (None, 1):
        yield problem(f"rounds: {block.rounds} beside schedule: {ONE_SHOT}", "it prunes once",
                      fix=f"leave rounds out, or schedule: {CUBIC}", where="rounds")  # fmt: skip
    elif not 1 <= _rounds(block) <= MOST_ROUNDS:
        yield problem(f"rounds: {block.rounds}", f"1 to {MOST_ROUNDS} prunings can be made", fix=f"rounds: {ROUNDS}",
                      where="rounds")  # fmt: skip
    elif block.recover is not None and _rounds(block) == 1 and not has_student:
        yield problem(f"recover: {block.recover}", "after the one pruning the student is trained as training says",
                      fix="leave it out", where="recover")  # fmt: skip
    if block.recover is not None and not (math.isfinite(block.recover) and block.recover > 0):
        yield problem(f"recover: {block.recover}", "not a number of epochs", fix="recover: 1", where="recover")
    told = {key: getattr(block, key) for key in HOW if getattr(block, key) is not None}
    for one in option_problems({"ffn": 1, **told}):
        yield replace(one, asked=one.asked.replace("student shrink", "prune"), where=one.where.removeprefix("shrink."))


def _rounds(block: PruneBlock) -> int:
    usual = 1 if block.schedule == ONE_SHOT else ROUNDS
    return usual if block.rounds is None else block.rounds


def _kinds(kinds: list[str]) -> Iterator[Problem]:
    fix = "kind: [ffn, heads]"
    if not kinds:
        yield problem("kind: []", "nothing would be pruned", fix=fix, where="kind")
    for kind in dict.fromkeys(kinds):
        if kind not in WIDTHS:
            yield problem(f"kind: {kind}", "no such kind", near=(kind, WIDTHS), fix=f"some of {', '.join(WIDTHS)}",
                          where="kind")  # fmt: skip
        elif kinds.count(kind) > 1:
            yield problem(f"kind: {kind}", "it stands there twice", fix="leave one of them out", where="kind")
        elif kind.endswith("heads") and {kind.replace("heads", "hidden"), "hidden"} & set(kinds):
            what = "the width of a head stays, so that heads take their part of hidden with them"
            yield problem("kind: heads beside hidden", what, fix="keep one of them", where="kind")


def _target(target: Mapping[str, Any]) -> Iterator[Problem]:
    given, example = [key for key in UNITS if key in target], "target: {parameters: 0.5}"
    for key in map(str, target):
        if key not in (*UNITS, LENGTH):
            yield problem(f"target {key}", "no such target", near=(key, (*UNITS, LENGTH)),
                          fix=f"one of {', '.join(UNITS)}", where=f"target.{key}")  # fmt: skip
    if len(given) != 1 and not (not given and set(target) - {LENGTH}):
        found = f"{' and '.join(given)} together" if given else "none is given"
        yield problem("target", found, fix=f"exactly one of {', '.join(UNITS)}, as {example}", where="target")
    for unit in given:
        yield from _value(unit, target[unit])
    length = target.get(LENGTH)
    if length is not None and (type(length) is not int or length < 1):
        yield problem(f"length: {length}", "not a number of tokens", fix="length: 32", where="target.length")
    elif length is not None and given == ["parameters"]:
        yield problem("length beside parameters", "a model has as many, however long a row is", fix="leave it out",
                      where="target.length")  # fmt: skip


def _value(unit: str, value: Any) -> Iterator[Problem]:
    share = _share(unit, value)
    if share is not None:
        good = 0 < share < 1
    else:
        good = type(value) in (int, float) and math.isfinite(value) and value > 0
        good = good and (unit == MILLISECONDS or (value == int(value) and value > 1))
    if not good:
        fix = "2.5, or 50% of what the student takes" if unit == MILLISECONDS else "a share between 0 and 1, as 0.5, " \
            "or a count, as 8_000_000"  # fmt: skip
        yield problem(f"target {unit}: {value}", "neither a share nor a number that can be met", fix=fix,
                      where=f"target.{unit}")  # fmt: skip


def _share(unit: str, value: Any) -> float | None:
    """A value as a share of what the student costs; None for what is none. Of milliseconds 0.5 is half of one."""
    if isinstance(value, str):
        number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)
        return float(number[1]) / 100 if number else -1.0
    is_share = unit != MILLISECONDS and type(value) is float and value <= 1
    return value if is_share else None
