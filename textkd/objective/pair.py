"""A match bound to models: a `Pair` of taps and how they are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from textkd.losses import Loss
from textkd.models.taps import Address
from textkd.objective.schedules import Schedule


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
