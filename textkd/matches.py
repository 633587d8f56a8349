"""What is compared with what: a `Match`, and how matches become pairs of taps of two given models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from textkd import losses
from textkd.comparison import comparison
from textkd.ends import Ends, addresses, taps_of
from textkd.errors import Collector, Problem, TextkdError, fail, problem
from textkd.layermaps import LayerSpec, read_layers
from textkd.losses import Loss
from textkd.schedules import Schedule
from textkd.taps import Address, Anatomy

Taps = str | Sequence[str]


@dataclass(frozen=True)
class Match:
    """One comparison of a tap of the student with a tap of the teacher.

    tap: the address on both sides (``labels``, ``logits``, ``hidden``, ``attention:4``, ...), or give `student` and
    `teacher` apart. A list of addresses of one family is compared one by one, or as a whole where the loss takes many
    taps (``["query", "key", "value"]`` for relations). loss: a registered name (`textkd ls losses`) or a function
    ``f(student, teacher, mask=None)``; the default is cross-entropy / MSE / BCE for labels by the kind of task, KL for
    logits, MSE for everything else.
    weight: multiplies the loss; with a layer map every pair has this weight. schedule: multiplies the weight over
    training progress. temperature: a number or a schedule that gives it. layers: which student block learns from
    which teacher block: "uniform", "first", "last", "skip", ``{student: teacher}`` or pairs; needed where the address
    names no block ("hidden" alone means "uniform"); "all" hands every block of both sides to a loss that takes many
    layers. projection: "auto" (linear where widths differ), a name of
    `textkd.projections.NAMES`, or "none". options: the loss's own options. fused: of logits and labels over a large
    vocabulary: they are computed a few positions at a time inside the loss, and never kept (docs/recipes.md).
    """

    tap: Taps = ""
    loss: str | Callable[..., Any] | None = None
    weight: float = 1.0
    schedule: str | Mapping[str, Any] | None = None
    temperature: float | Mapping[str, Any] | None = None
    layers: LayerSpec = None
    student: Taps = ""
    teacher: Taps = ""
    projection: str | None = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    fused: bool = False


@dataclass(frozen=True)
class Pair:
    """A match bound to two models: taps of the student, taps of the teacher, and how they are compared.

    students, teachers: one address each, or all that a loss of many taps takes; no teacher for labels and other losses
    that need none. teacher_pool: what the teacher's taps pass through where the student's have a grid projection.
    inside: the loss owns weights, or multiplies with the head's, so it is computed while the student's forward is not
    over (`Objective.inside`). fused: as in `Match`. heads: where the logits are made inside the loss, the layers of
    student and teacher that make them; the taps are then what goes into these."""

    name: str
    students: tuple[Address, ...]
    teachers: tuple[Address, ...]
    loss: Loss
    weight: float
    schedule: Schedule
    temperature: Schedule | None
    projection: str | None
    options: Mapping[str, Any]
    teacher_pool: Callable[[Tensor], Tensor] | None = None
    inside: bool = False
    fused: bool = False
    heads: tuple[nn.Linear | None, nn.Linear | None] = (None, None)

    @property
    def student(self) -> Address:
        """The (first) tap of the student."""
        return self.students[0]

    @property
    def teacher(self) -> Address | None:
        """The (first) tap of the teacher; None where none is needed."""
        return self.teachers[0] if self.teachers else None

    @property
    def read(self) -> tuple[list[str], list[str]]:
        """What has to be read out of the student and out of the teacher; a labels pair reads the student's logits."""
        mine = [str(address) if address.kind != "labels" else "logits" for address in self.students]
        ends = zip((mine, [*map(str, self.teachers)]), self.heads, strict=True)
        student, teacher = (names if head is None else ["head_input"] for names, head in ends)
        return student, teacher

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """(student block, teacher block) of the taps that lie side by side, where both have one."""
        ends = zip(self.students, self.teachers, strict=False)
        return list(dict.fromkeys((s.block, t.block) for s, t in ends if s.block is not None and t.block is not None))

    def projected(self, number: int) -> str:
        """The name of the projection of the student's tap `number`."""
        return f"{self.name}[{number}]" if self.loss.arity else self.name


def bind(matches: Sequence[Match], student: Anatomy, teacher: Anatomy | None, problem_type: str) -> list[Pair]:
    """The pairs of all matches over these two models. teacher None: only losses that need none. problem_type:
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


def needs_teacher(match: Match) -> bool:
    """Whether `match` compares with a teacher; labels and losses that stand alone do not."""
    try:
        family = addresses(match)[0][0].family
        return family != "labels" and (not isinstance(match.loss, str) or losses.get(match.loss, family).needs_teacher)
    except TextkdError:
        return True  # what is wrong with it is told elsewhere


def check_words(matches: Sequence[Match], problem_type: str | None) -> None:
    """`bind` as far as it goes without models: misspelt taps, losses, options, layer maps, schedules, projections, bad
    numbers. problem_type None: not known, so the loss of `labels` is not looked at. Raises `TextkdError`."""
    found = Collector()
    for i, match in enumerate(matches):
        with found.collecting(f"[{i}]"):
            students, _ = addresses(match)
            with found.collecting():
                comparison(match, students[0].family, problem_type)
            if match.layers is not None:
                read_layers(match.layers)
    found.raise_any()


def _bind_one(match: Match, student: Anatomy, teacher: Anatomy | None, problem_type: str) -> list[Pair]:
    students, teachers = addresses(match)
    found, how, taps = Collector(), None, list[Ends]()
    with found.collecting():
        how = comparison(match, students[0].family, problem_type)
    if not how.loss.needs_teacher if how is not None else students[0].family == "labels":
        found.add(*_alone_problems(match, students))
        teachers = ()
    if teachers and teacher is None:
        found.raise_any()  # a misspelt loss may well be one that needs none
        fix = "only {tap: labels} and losses that need no teacher (`textkd ls losses`) work without one"
        raise fail(f"a teacher's {teachers[0]}", "there is no teacher", fix=fix)
    with found.collecting():
        taps = taps_of(match, (students, teachers), how.loss.arity if how is not None else "", student, teacher)
    found.raise_any()
    assert how is not None
    rest = (how.loss, float(match.weight), how.schedule, how.temperature, match.projection, dict(match.options))
    return [Pair(_name(s, t, how.loss), s, t, *rest, fused=match.fused) for s, t in taps]


def _alone_problems(match: Match, students: Sequence[Address]) -> list[Problem]:
    """A loss without a teacher reads one tap."""
    if students[0].family != "labels" and match.teacher:
        fix = f"tap: {students[0]}"
        return [problem(f"teacher: {match.teacher}", f"{match.loss} needs no teacher", fix=fix, where="teacher")]
    return []


def _name(students: Sequence[Address], teachers: Sequence[Address], loss: Loss) -> str:
    if not teachers or (tuple(students) == tuple(teachers) and students[0].block is None):
        return f"{_joined(students)}/{loss.name}"
    mine, theirs = (dict.fromkeys(replace(a, block=None) for a in side) for side in (students, teachers))
    alike = list(mine) == list(theirs)
    numbered = alike and all(address.block is not None for address in teachers)
    blocks = "+".join(dict.fromkeys(str(address.block) for address in teachers))
    return f"{_joined(students)}<-{blocks if numbered else _joined(teachers)}/{loss.name}"


def _joined(addresses: Sequence[Address]) -> str:
    """One name of many: ``hidden:1+2+3``, ``query+key+value:3``."""
    kinds = list(dict.fromkeys(str(replace(address, block=None)) for address in addresses))
    blocks = list(dict.fromkeys(str(address.block) for address in addresses if address.block is not None))
    if len(kinds) > 1 and len(blocks) > 1:
        return "+".join(map(str, addresses))
    return "+".join(kinds) + (":" + "+".join(blocks) if blocks else "")
