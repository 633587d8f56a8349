"""Losses on vectors: hidden states, embeddings, FFN pre-activations [B,T,H] (mask [B,T]) or pooled [B,H] (mask [B] or
None). N: number of valid positions. `reduce_elements` serves the other losses on vectors."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from textkd.losses.masking import aligned, fill, masked_mean, masked_sum, mean_of_samples, mean_square, widen
from textkd.losses.registry import register

Reduction = Literal["mean", "token_mean", "per_sample", "sum"]
PER_ROW = {"reduction": ("per_sample", "sum")}


@register(
    "mse",
    family="hidden",
    source="FitNets, Romero et al. 2015, arXiv:1412.6550 (1/2 of token_mean); TinyBERT, arXiv:1909.10351",
    formula="1 / (N H) * sum over positions of ||h_s - h_t||^2",
    per_row_if=PER_ROW,
)
def mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, reduction: Reduction = "mean") -> Tensor:
    """Mean squared difference over valid positions and width.

    reduction: see `reduce_elements`; half of "token_mean" is the hint of FitNets. Scalar.
    """
    if reduction == "mean":
        return mean_square(student, teacher, mask)
    student, teacher = aligned(student, teacher, mask)
    return reduce_elements((student - teacher).square(), mask, reduction)


@register(
    "normalised_mse",
    family="hidden",
    source="Patient KD, Sun et al. 2019, arXiv:1908.09355 (positions: first)",
    formula="1 / (N H) * sum over positions of || h_s/||h_s|| - h_t/||h_t|| ||^2",
    per_row_if={"positions": ("first",), **PER_ROW},
)
def normalised_mse(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    positions: Literal["all", "first"] = "all",
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean squared difference of the vectors scaled to length 1, over valid positions AND width as `F.mse_loss` has it.

    positions: "first" compares the first position ([CLS]) alone, as PKD does; [B,H] has one position. reduction: see
    `reduce_elements`; "mean" is at most 4 / H (PKD, whose weight is 500 therefore), "token_mean" is the squared
    distance of the unit vectors (TextBrewer's pkd; 0 to 4). Scalar.
    """
    if positions == "first" and student.dim() == 3:
        student, teacher = student[:, 0], teacher[:, 0]
        mask = None if mask is None else mask[:, 0]
    student, teacher = aligned(student, teacher, mask)
    squares = (F.normalize(student, dim=-1) - F.normalize(teacher, dim=-1)).square()
    return reduce_elements(squares, mask, reduction)


@register(
    "cosine",
    family="hidden",
    source="DistilBERT, Sanh et al. 2019, arXiv:1910.01108",
    formula="1 / N * sum over positions of 1 - cos(h_s, h_t)",
)
def cosine(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """One minus the cosine, mean over valid positions: 0 for the same direction, 2 for the opposite one. Scalar."""
    student, teacher = aligned(student, teacher, mask)
    return masked_mean(1.0 - (F.normalize(student, dim=-1) * F.normalize(teacher, dim=-1)).sum(-1), mask)


def reduce_elements(x: Tensor, mask: Tensor | None, reduction: Reduction) -> Tensor:
    """One number of `x` [B,...,H], one value per position and dimension.

    mean: over valid positions and width. token_mean: sum over the width, mean over valid positions. per_sample: sum
    over positions and width, mean over samples (what image codes call the sum over the batch size). sum: the bare sum.
    """
    if reduction == "sum":
        return masked_sum(x, mask)
    if reduction == "per_sample":
        return mean_of_samples(fill(widen(x), mask).flatten(1).sum(1), mask)
    return masked_mean(x.sum(-1) if reduction == "token_mean" else x, mask)
