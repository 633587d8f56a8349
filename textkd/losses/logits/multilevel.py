"""Multi-level logit distillation: which classes go together, and which samples do, seen through the predictions.

Both compare Gram matrices of the probabilities P [N,C]: P^T P [C,C] between classes, P P^T [N,N] between rows. The size
of the difference of two Grams can be had from either side, so neither builds C x C of a large vocabulary nor N x N
of a long batch where the other is smaller."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.logits.softened import soften
from textkd.losses.masking import aligned, count, fill
from textkd.losses.options import Positive
from textkd.losses.registry import register


@register(
    "class_correlation",
    family="logits",
    source="Jin et al. 2023, CVPR, Multi-Level Logit Distillation; code: sunshangquan/logit-standardization-KD",
    formula="1 / C * || P_s^T P_s - P_t^T P_t ||_F^2, P [N,C]",
    min_classes=2,
    reads="softmax",
)
def class_correlation(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, temperature: Positive = 4.0
) -> Tensor:
    """Squared difference of how often the batch gives two classes together. Grows with the square of the rows.

    temperature T divides both logits; there is no T^2. Scalar.
    """
    p_s, p_t = _probabilities(student, teacher, mask, temperature)
    return gram_distance(p_s.mT, p_t.mT) / p_s.shape[-1]


@register(
    "batch_correlation",
    family="logits",
    source="Jin et al. 2023, CVPR, Multi-Level Logit Distillation; code: sunshangquan/logit-standardization-KD",
    formula="1 / N * || P_s P_s^T - P_t P_t^T ||_F^2, P [N,C]",
    min_classes=2,
    min_rows=2,
    reads="softmax",
)
def batch_correlation(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, temperature: Positive = 4.0
) -> Tensor:
    """Squared difference of the similarities between the rows of the batch (samples, or all valid tokens).

    temperature T divides both logits; there is no T^2. Scalar.
    """
    p_s, p_t = _probabilities(student, teacher, mask, temperature)
    if len(p_s) < 2:
        raise fail("the loss batch_correlation", "one row: nothing to compare it with", fix="use a larger batch")
    return gram_distance(p_s, p_t) / (count(student, mask) / student.shape[-1])


def gram_distance(a: Tensor, b: Tensor) -> Tensor:
    """|| A A^T - B B^T ||_F^2 of two matrices [n,m], through products of the smaller of n x n and m x m. Scalar.

    With D = A - B and S = A + B the difference is (D S^T + S D^T) / 2, whose square needs D^T D, S^T S and D^T S
    [m,m] only; unlike the difference of two squares it loses no digits where A is near B.
    """
    if a.shape[0] <= a.shape[1]:
        return (a @ a.mT - b @ b.mT).square().sum()
    d, s = a - b, a + b
    cross = d.mT @ s
    return 0.5 * (((d.mT @ d) * (s.mT @ s)).sum() + (cross * cross.mT).sum())


def _probabilities(student: Tensor, teacher: Tensor, mask: Tensor | None, temperature: float) -> tuple[Tensor, Tensor]:
    """Softened probabilities [N,C]; rows of 0 where the mask has 0."""
    student, teacher = aligned(student, teacher, mask)
    p_s, p_t = (fill(F.softmax(soften(z, temperature), dim=-1), mask).flatten(0, -2) for z in (student, teacher))
    return p_s, p_t
