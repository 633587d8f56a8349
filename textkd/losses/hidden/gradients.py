"""Gradients as knowledge: losses on d(logit of the true class)/dh or d(task loss)/dh, the taps `gradient:k` and
`loss_gradient:k`, both [B,T,H] (mask [B,T]) or [B,H]. J: such a gradient. The student learns through it by double
backward; `textkd.models.taps.input_gradient` computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from textkd.errors import fail
from textkd.losses.hidden.maps import masked_rows, unit_length
from textkd.losses.masking import aligned, fill, masked_mean, widen
from textkd.losses.registry import register


@register(
    "gradient_attention",
    family="hidden",
    source="Attention transfer, Zagoruyko & Komodakis 2017, arXiv:1612.03928 (on loss_gradient:0; beta beside it)",
    formula="1 / (2B) * sum over samples of ||J_s - J_t||^2",
    per="row",
)
def gradient_attention(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Half the squared distance of the gradients over a sample's valid positions and width, mean over samples.

    Meant for `loss_gradient:0`, the gradient at the input of block 1, where the paper has pixels. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    return 0.5 * masked_mean(masked_rows((student - teacher).square(), mask), _samples(mask))


@register(
    "sobolev",
    family="hidden",
    source="Sobolev training, Czarnecki et al. 2017, arXiv:1706.04859; code: AberHu/Knowledge-Distillation-Zoo",
    formula="1 / (N H) * sum over positions of || J_s/|J_s| - J_t/|J_t| ||^2, |J| over the whole sample",
)
def sobolev(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference of the gradients, each scaled to length 1 over the sample's valid positions and width.

    Meant for `gradient:0`. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    return masked_mean((unit_length(student) - unit_length(teacher)).square(), mask)


@register(
    "lwm",
    family="hidden",
    source="Learning without memorizing, Dhar et al. 2019, arXiv:1811.08051; code: AberHu/Knowledge-Distillation-Zoo",
    formula="mean over positions of |Q_s/||Q_s|| - Q_t/||Q_t|||, Q = relu(sum over width of mean_T(J) * h)",
    arity="kinds",
    distinct=True,
    any_width=True,
    tokens=True,
)
def lwm(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    weighted: Literal["hidden", "gradient"] = "hidden",
) -> Tensor:
    """Absolute difference of the Grad-CAM maps, each scaled to length 1 over the sample's valid positions.

    student, teacher: [hidden:k, gradient:k], each [B,T,H] (or only the gradient with weighted: gradient). The mean
    gradient of a dimension is its weight. weighted: what the weights multiply; "gradient" is the Zoo's code. Mean over
    the valid positions. Scalar.
    """
    least = 2 if weighted == "hidden" else 1
    if any(tap.dim() != 3 for tap in (*student, *teacher)) or min(len(student), len(teacher)) < least:
        found = ", ".join(f"{list(tap.shape)}" for tap in student)
        fix = 'tap: ["hidden", "gradient"], in this order; pooled vectors have no positions'
        raise fail("Grad-CAM maps", f"they need [hidden, gradient], each [B,T,H]; the student gives {found}", fix=fix)
    mine, its = (unit_length(_cam(taps, mask, weighted)) for taps in (student, teacher))
    mine, its = aligned(mine, its, mask)
    return masked_mean((mine - its).abs(), mask)


def _cam(taps: Sequence[Tensor], mask: Tensor | None, weighted: Literal["hidden", "gradient"]) -> Tensor:
    """[B,T] out of [hidden, gradient], both [B,T,H]."""
    hidden, gradient = (fill(widen(tap), mask) for tap in (taps[0], taps[-1]))
    count = gradient.shape[1] if mask is None else (mask != 0).sum(1).clamp(min=1)[:, None, None]
    weights = gradient.sum(1, keepdim=True) / count
    return (weights * (hidden if weighted == "hidden" else gradient)).sum(-1).relu()


def _samples(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else (mask != 0).flatten(1).any(1)
