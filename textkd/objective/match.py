"""What is compared with what: a `Match`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from textkd.objective.layer_maps import LayerSpec

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
    `textkd.objective.projections.NAMES`, or "none". options: the loss's own options. fused: of logits and labels over a
    large vocabulary: they are computed a few positions at a time inside the loss, and never kept (docs/recipes.md).
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
