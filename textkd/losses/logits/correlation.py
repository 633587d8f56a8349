"""DIST: the student's probabilities need only correlate with the teacher's, within each row and within each class."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.logits.softened import soften
from textkd.losses.masking import aligned, count, expand, fill, masked_mean
from textkd.losses.options import NonNegative, Positive
from textkd.losses.registry import register


@register(
    "dist",
    family="logits",
    source="Huang et al. 2022, arXiv:2205.10536; code: hunto/DIST_KD; eps_is floor: yoshitomo-matsubara/torchdistill",
    formula="T^2 * [beta (1 - mean over rows of corr(p_s, p_t)) + gamma (1 - mean over classes of corr(p_s, p_t))]",
    min_classes=2,
    min_rows=2,
    reads="softmax",
)
def dist(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    beta: NonNegative = 1.0,
    gamma: NonNegative = 1.0,
    temperature: Positive = 1.0,
    eps: Positive = 1e-8,
    eps_is: Literal["added", "floor"] = "added",
) -> Tensor:
    """One minus Pearson's correlation, over the classes of each row and over the rows of each class.

    Rows are all valid samples or tokens of the batch. beta: weight of the correlation within a row (between classes).
    gamma: weight of that within a class (between rows), which needs two rows or more. temperature T divides both
    logits, the loss is times T^2. eps: against division by 0; eps_is: "added" to the product of the two lengths, which
    pulls the correlation of the rare classes of a large vocabulary to 0, or the "floor" of each. Scalar.
    """
    if student.shape[:-1].numel() < 2:
        fix = "use a larger batch, or another loss"
        raise fail("the loss dist", "one row: nothing to correlate within a class", fix=fix)
    rows = None if mask is None else expand(mask, student)[..., 0].expand(student.shape[:-1]).flatten()
    student, teacher = aligned(student, teacher, mask)
    p_s = F.softmax(soften(student, temperature), dim=-1).flatten(0, -2)
    p_t = F.softmax(soften(teacher, temperature), dim=-1).flatten(0, -2)
    within_rows = _cosine(p_s - p_s.mean(-1, keepdim=True), p_t - p_t.mean(-1, keepdim=True), -1, eps, eps_is)
    within_classes = _cosine(_centred(p_s, rows), _centred(p_t, rows), 0, eps, eps_is)
    terms = beta * masked_mean(1 - within_rows, rows) + gamma * _or_zero(1 - within_classes.mean(), rows)
    return temperature**2 * terms


def _centred(p: Tensor, rows: Tensor | None) -> Tensor:
    """Each class minus its mean over the valid rows; 0 in the others."""
    mean = fill(p, rows).sum(0) / (count(p, rows) / p.shape[-1])
    return fill(p - mean, rows)


def _cosine(a: Tensor, b: Tensor, dim: int, eps: float, eps_is: str) -> Tensor:
    length_a, length_b = vector_norm(a, dim=dim), vector_norm(b, dim=dim)
    lengths: Tensor = (
        length_a.clamp_min(eps) * length_b.clamp_min(eps) if eps_is == "floor" else length_a * length_b + eps
    )
    return (a * b).sum(dim) / lengths


def _or_zero(value: Tensor, rows: Tensor | None) -> Tensor:
    return value if rows is None else value * rows.any()
