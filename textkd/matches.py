"""What is compared with what: a `Match`, the layer maps, and how both become pairs of taps of two given models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from textkd import losses, projections
from textkd.errors import Collector, Problem, fail, problem
from textkd.losses import Loss
from textkd.schedules import Schedule
from textkd.taps import Address, Anatomy

LayerSpec = str | Mapping[int, int] | Sequence[Sequence[int]] | None
DEFAULT_LOSS = {"logits": "kl", "hidden": "mse", "attention": "mse", "scores": "mse", "heads": "mse"}
LABEL_LOSS = {"single_label_classification": "cross_entropy", "regression": "mse", "multi_label_classification": "bce"}
LAYER_MAPS: dict[str, Callable[[int, int], list[tuple[int, int]]]] = {
    # student block k <- teacher block round(k * T / S): evenly spread, ends in the last block (TinyBERT's g(m))
    "uniform": lambda s, t: [(k, round(k * t / s)) for k in range(1, s + 1)],
    "first": lambda s, t: [(k, k) for k in range(1, s + 1)],
    "last": lambda s, t: [(k, t - s + k) for k in range(1, s + 1)],
    # PKD-skip: uniform without the last block, which the logits already teach (Sun et al. 2019, arXiv:1908.09355)
    "skip": lambda s, t: [(k, round(k * t / s)) for k in range(1, s)],
}


@dataclass(frozen=True)
class Match:
    """One comparison of a tap of the student with a tap of the teacher.

    tap: the address on both sides (``labels``, ``logits``, ``hidden``, ``attention:4``, ...), or give `student` and
    `teacher` apart. loss: a registered name (`textkd ls losses`) or a function ``f(student, teacher, mask=None)``;
    the default is cross-entropy / MSE / BCE for labels by the kind of task, KL for logits, MSE for everything else.
    weight: multiplies the loss; with a layer map every pair has this weight. schedule: multiplies the weight over
    training progress. temperature: a number or a schedule that gives it. layers: which student block learns from
    which teacher block: "uniform", "first", "last", "skip", ``{student: teacher}`` or pairs; needed where the address
    names no block ("hidden" alone means "uniform"). projection: "auto" (linear where widths differ), a name of
    `textkd.projections.NAMES`, or None. options: the loss's own options.
    """

    tap: str = ""
    loss: str | Callable[..., Any] | None = None
    weight: float = 1.0
    schedule: str | Mapping[str, Any] | None = None
    temperature: float | Mapping[str, Any] | None = None
    layers: LayerSpec = None
    student: str = ""
    teacher: str = ""
    projection: str | None = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A match bound to two models: one tap of the student, one of the teacher, and how they are compared."""

    name: str
    student: Address
    teacher: Address | None
    loss: Loss
    weight: float
    schedule: Schedule
    temperature: Schedule | None
    projection: str | None
    options: Mapping[str, Any]

    @property
    def blocks(self) -> tuple[int, int] | None:
        """(student block, teacher block), where both sides have one."""
        if self.teacher is None or self.student.block is None or self.teacher.block is None:
            return None
        return self.student.block, self.teacher.block


def layer_map(spec: LayerSpec, student_blocks: int, teacher_blocks: int) -> list[tuple[int, int]]:
    """The (student block, teacher block) pairs of `spec`; blocks count from 1, negative ones from the end, 0 is the
    input of block 1. Raises `TextkdError` with every bad pair."""
    if isinstance(spec, str):
        if spec not in LAYER_MAPS:
            raise fail(f'layers "{spec}"', "no such layer map", near=(spec, LAYER_MAPS), where="layers",
                       fix=f"one of {', '.join(LAYER_MAPS)}, or {{student block: teacher block}}")  # fmt: skip
        if student_blocks > teacher_blocks:
            raise fail(f'layers "{spec}"', f"a student of {student_blocks} blocks and a teacher of {teacher_blocks}",
                       fix="write the map out: {student block: teacher block}", where="layers")  # fmt: skip
        return LAYER_MAPS[spec](student_blocks, teacher_blocks)
    pairs = list(spec.items()) if isinstance(spec, Mapping) else [tuple(pair) for pair in spec or ()]
    found = Collector()
    if not pairs:
        found.add(problem("layers with no pair", "nothing to compare", fix='layers: "uniform"', where="layers"))
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(block, int) for block in pair):
            found.add(problem(f"layers {pair!r}", "not a pair of block numbers", fix="{student: teacher}, as {1: 2}",
                              where="layers"))  # fmt: skip
    found.raise_any()
    return [(s, t) for s, t in pairs]


def bind(matches: Sequence[Match], student: Anatomy, teacher: Anatomy | None, problem_type: str) -> list[Pair]:
    """The pairs of all matches over these two models. Raises one `TextkdError` with every problem of every match."""
    found, pairs = Collector(), []
    for i, match in enumerate(matches):
        with found.collecting(f"[{i}]"):
            pairs.extend(_Binder(match, student, teacher, problem_type).pairs())
    names = [pair.name for pair in pairs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.add(problem(f'"{name}" twice', "two matches compare the same taps with the same loss", fix="remove one, or add up the weights"))
    if not pairs and not found.problems:
        found.add(problem("no match", "nothing to learn from", fix="add at least {tap: labels} or {tap: logits}"))
    found.raise_any()
    return pairs


class _Binder:
    def __init__(self, match: Match, student: Anatomy, teacher: Anatomy | None, problem_type: str) -> None:
        self.match, self.student, self.teacher, self.problem_type = match, student, teacher, problem_type

    def pairs(self) -> list[Pair]:
        match, found = self.match, Collector()
        ends = self._addresses()
        if ends[1] is not None and self.teacher is None:
            raise fail(f"a teacher's {ends[1]}", "this training has no teacher", fix="only {tap: labels} works without one")
        with found.collecting():
            loss = self._loss(ends[0].family)
            found.add(*self._option_problems(loss))
        with found.collecting("schedule"):
            schedule = Schedule.parse(1.0 if match.schedule is None else match.schedule)
        temperature = None
        if match.temperature is not None:
            with found.collecting("temperature"):
                temperature = Schedule.parse(match.temperature, positive=True)
        found.add(*self._number_problems())
        resolved: list[tuple[Address, Address | None]] = []
        for s, t in self._expand(ends, found):
            with found.collecting("student" if self.match.student else "tap"):
                s = self.student.resolve(s)
            if t is not None and self.teacher is not None:
                with found.collecting("teacher" if self.match.teacher else "tap"):
                    t = self.teacher.resolve(t)
            resolved.append((s, t))
        found.raise_any()
        return [
            Pair(_name(s, t, loss), s, t, loss, float(match.weight), schedule, temperature, match.projection, dict(match.options))
            for s, t in resolved
        ]  # fmt: skip

    def _addresses(self) -> tuple[Address, Address | None]:
        match, found = self.match, Collector()
        if bool(match.tap) == bool(match.student or match.teacher):
            raise fail("a match", "neither `tap` nor `student` and `teacher`" if not match.tap else "`tap` beside `student`/`teacher`",
                       fix="`tap` for the same address on both sides, or `student` and `teacher`")  # fmt: skip
        if not match.tap and not (match.student and match.teacher):
            raise fail("a match of two addresses", f"only `{'student' if match.student else 'teacher'}`", fix="give both")
        ends: list[Address] = []
        for where, text in (("tap", match.tap),) if match.tap else (("student", match.student), ("teacher", match.teacher)):
            with found.collecting(where):
                ends.append(Address.parse(text))
        found.raise_any()
        s, t = ends[0], ends[-1]
        if s.family != t.family:
            raise fail(f"student {s} <- teacher {t}", f"{s.family} beside {t.family}", fix="compare taps of one kind")
        return s, None if s.family == "labels" else t

    def _loss(self, family: str) -> Loss:
        name = self.match.loss
        if callable(name):
            return losses.as_loss(name, family)
        if name is None:
            name = LABEL_LOSS[self.problem_type] if family == "labels" else DEFAULT_LOSS[family]
        loss = losses.get(name, family)
        if family == "labels" and self.match.loss is not None and name != LABEL_LOSS[self.problem_type]:
            raise fail(f'loss "{name}" on labels', f"a task of {self.problem_type}", where="loss",
                       fix=f'loss: {LABEL_LOSS[self.problem_type]}, or leave it out')  # fmt: skip
        return loss

    def _option_problems(self, loss: Loss) -> list[Problem]:
        problems = [replace(p, where=f"options.{p.where}".rstrip(".")) for p in losses.check_options(loss, self.match.options)]
        if self.match.temperature is not None and not loss.needs_temperature:
            problems.append(problem(f"temperature {self.match.temperature}", f'loss "{loss.name}" has no temperature', where="temperature", fix="leave it out"))
        if self.match.temperature is not None and "temperature" in self.match.options:
            problems.append(problem("temperature twice", "`temperature` and `options.temperature`", where="temperature", fix="keep one"))
        return problems

    def _number_problems(self) -> list[Problem]:
        match, problems = self.match, []
        if isinstance(match.weight, bool) or not isinstance(match.weight, int | float) or not match.weight > 0:
            problems.append(problem(f"weight {match.weight!r}", "not a positive number", fix="a number above 0; remove the match to switch it off", where="weight"))
        if match.projection not in (None, "auto", "none", *projections.NAMES):
            problems.append(problem(f'projection "{match.projection}"', "no such projection", near=(str(match.projection), projections.NAMES), where="projection"))
        return problems

    def _expand(self, ends: tuple[Address, Address | None], found: Collector) -> list[tuple[Address, Address | None]]:
        s, t = ends
        open_ended = s.needs_block and s.block is None
        if not open_ended:
            if self.match.layers is not None:
                found.add(problem(f"layers beside {s}", "the address names its block already", fix=f'tap: "{s.kind}" with layers, or no layers', where="layers"))
            if t is not None and t.needs_block and t.block is None:
                found.add(problem(f"teacher {t}", "no block number", fix=f'"{t}:6"', where="teacher"))
                return []
            return [ends]
        blocks = "uniform" if self.match.layers is None else self.match.layers
        with found.collecting():
            return [
                (replace(s, block=i), replace(t or s, block=j))
                for i, j in layer_map(blocks, self.student.num_blocks, self.teacher.num_blocks if self.teacher else 0)
            ]
        return []


def _name(student: Address, teacher: Address | None, loss: Loss) -> str:
    if teacher is None or student == teacher and student.block is None:
        return f"{student}/{loss.name}"
    other = str(teacher.block) if teacher.block is not None and student.kind == teacher.kind else str(teacher)
    return f"{student}<-{other}/{loss.name}"
