"""What is compared with what: a `Match`, and how matches become pairs of taps of two given models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from textkd.comparison import comparison
from textkd.errors import Collector, fail, problem
from textkd.layermaps import LayerSpec, layer_map, read_layers
from textkd.losses import Loss
from textkd.schedules import Schedule
from textkd.taps import Address, Anatomy

Ends = tuple[Address, Address | None]


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
    `textkd.projections.NAMES`, or "none". options: the loss's own options.
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
    """A match bound to two models: one tap of the student, one of the teacher, and how they are compared.

    teacher_pool: what the teacher's tap passes through where the student's has a grid projection."""

    name: str
    student: Address
    teacher: Address | None
    loss: Loss
    weight: float
    schedule: Schedule
    temperature: Schedule | None
    projection: str | None
    options: Mapping[str, Any]
    teacher_pool: Callable[[Tensor], Tensor] | None = None

    @property
    def blocks(self) -> tuple[int, int] | None:
        """(student block, teacher block), where both sides have one."""
        if self.teacher is None or self.student.block is None or self.teacher.block is None:
            return None
        return self.student.block, self.teacher.block


def bind(matches: Sequence[Match], student: Anatomy, teacher: Anatomy | None, problem_type: str) -> list[Pair]:
    """The pairs of all matches over these two models. teacher None: only `labels` can be matched. problem_type:
    transformers' word, for the loss of `labels`. Raises one `TextkdError` with every problem of every match."""
    found, pairs = Collector(), list[Pair]()
    for i, match in enumerate(matches):
        with found.collecting(f"[{i}]"):
            pairs.extend(_bind_one(match, student, teacher, problem_type))
    names = [pair.name for pair in pairs]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        what = "two matches compare the same taps with the same loss"
        found.add(problem(f'"{name}" twice', what, fix="remove one, or add up the weights"))
    if not matches:
        found.add(problem("no match", "nothing to learn from", fix="add at least {tap: labels} or {tap: logits}"))
    found.raise_any()
    return pairs


def check_words(matches: Sequence[Match], problem_type: str | None) -> None:
    """`bind` as far as it goes without models: misspelt taps, losses, options, layer maps, schedules, projections, bad
    numbers. problem_type None: not known, so the loss of `labels` is not looked at. Raises `TextkdError`."""
    found = Collector()
    for i, match in enumerate(matches):
        with found.collecting(f"[{i}]"):
            student, _ = _addresses(match)
            with found.collecting():
                comparison(match, student.family, problem_type)
            if match.layers is not None:
                read_layers(match.layers)
    found.raise_any()


# -- which taps: addresses, layer maps, and the blocks that the models have -----------------------------------------


def _bind_one(match: Match, student: Anatomy, teacher: Anatomy | None, problem_type: str) -> list[Pair]:
    ends = _addresses(match)
    if ends[1] is not None and teacher is None:
        raise fail(f"a teacher's {ends[1]}", "there is no teacher", fix="only {tap: labels} works without one")
    found, how, taps = Collector(), None, list[Ends]()
    with found.collecting():
        how = comparison(match, ends[0].family, problem_type)
    with found.collecting():
        taps = _taps(match, ends, student, teacher)
    found.raise_any()
    assert how is not None
    weight, options = float(match.weight), dict(match.options)
    rest = (how.loss, weight, how.schedule, how.temperature, match.projection, options)
    return [Pair(_name(s, t, how.loss), s, t, *rest) for s, t in taps]


def _addresses(match: Match) -> Ends:
    """The address of each side as written; the teacher's is None for labels."""
    if bool(match.tap) == bool(match.student or match.teacher):
        what = "`tap` beside `student`/`teacher`" if match.tap else "neither `tap` nor `student` and `teacher`"
        raise fail("a match", what, fix="`tap` for the same address on both sides, or `student` and `teacher`")
    if not match.tap and not (match.student and match.teacher):
        only = "student" if match.student else "teacher"
        raise fail("a match of two addresses", f"only `{only}`", fix="give both")
    found, ends = Collector(), list[Address]()
    for side in ("tap",) if match.tap else ("student", "teacher"):
        with found.collecting(side):
            ends.append(Address.parse(getattr(match, side)))
    found.raise_any()
    s, t = ends[0], ends[-1]
    if s.family != t.family:
        raise fail(f"student {s} <- teacher {t}", f"{s.family} beside {t.family}", fix="compare taps of one kind")
    return s, None if s.family == "labels" else t


def _taps(match: Match, ends: Ends, student: Anatomy, teacher: Anatomy | None) -> list[Ends]:
    """The two taps of every pair, with blocks that are there."""
    found, resolved = Collector(), list[Ends]()
    for s, t in _expand(match, ends, student, teacher):
        with found.collecting("student" if match.student else "tap"):
            s = student.resolve(s)
        if t is not None and teacher is not None:
            with found.collecting("teacher" if match.teacher else "tap"):
                t = teacher.resolve(t)
        resolved.append((s, t))
    found.raise_any()
    return resolved


def _expand(match: Match, ends: Ends, student: Anatomy, teacher: Anatomy | None) -> list[Ends]:
    """One pair of addresses for every pair of the layer map, where the addresses leave their blocks open."""
    s, t = ends
    if t is None or teacher is None:
        _refuse_layers(match, s)
        return [ends]
    mine, theirs = _is_open(s), _is_open(t)
    if mine != theirs:
        side, other, fixed = ("student", s, t) if mine else ("teacher", t, s)
        fix = f'"{other}:2", or the same on both sides with layers'
        raise fail(f"{side} {other} beside {fixed}", f"{other} names no block", fix=fix, where=side)
    if not mine:
        _refuse_layers(match, s)
        return [ends]
    spec = "uniform" if match.layers is None else match.layers
    found, counts = Collector(), list[int]()
    for side, model, address in (("student", student, s), ("teacher", teacher, t)):
        with found.collecting(side if match.student else "tap"):
            counts.append(model.on(address).num_blocks)
    found.raise_any()
    pairs = layer_map(spec, *counts)
    return [(replace(s, block=i), replace(t, block=j)) for i, j in pairs]


def _refuse_layers(match: Match, address: Address) -> None:
    if match.layers is None:
        return
    if address.needs_block:
        open_ = replace(address, block=None)
        what, fix = "the address names its block already", f'"{open_}" with layers, or no layers'
    else:
        what, fix = "this tap is not one per block", "no layers"
    raise fail(f"layers beside {address}", what, fix=fix, where="layers")


def _is_open(address: Address) -> bool:
    return address.needs_block and address.block is None


def _name(student: Address, teacher: Address | None, loss: Loss) -> str:
    if teacher is None or (student == teacher and student.block is None):
        return f"{student}/{loss.name}"
    alike = (student.kind, student.side) == (teacher.kind, teacher.side)
    other = str(teacher.block) if teacher.block is not None and alike else str(teacher)
    return f"{student}<-{other}/{loss.name}"
