"""Losses on vectors: hidden states, embeddings, FFN pre-activations [B,T,H] (mask [B,T]) or pooled [B,H] (mask [B] or
None). N: number of valid positions."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from textkd.losses.masking import aligned, masked_mean
from textkd.losses.registry import register


@register(
    "mse",
    eats="hidden",
    source="FitNets, Romero et al. 2015, arXiv:1412.6550 (there 1/2 of the sum); TinyBERT, arXiv:1909.10351",
    formula="1 / (N H) * sum over positions of ||h_s - h_t||^2",
)
def mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference over valid positions and width. Scalar."""
    student, teacher = aligned(student, teacher, mask)
    return masked_mean((student - teacher).square(), mask)


@register(
    "normalised_mse",
    eats="hidden",
    source="Patient KD, Sun et al. 2019, arXiv:1908.09355 (positions: first)",
    formula="1 / (N H) * sum over positions of || h_s/||h_s|| - h_t/||h_t|| ||^2",
    per_row_if={"positions": ("first",)},
)
def normalised_mse(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    positions: Literal["all", "first"] = "all",
    width: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Mean squared difference of the vectors scaled to length 1, over valid positions AND width as `F.mse_loss` has it.

    positions: "first" compares the first position ([CLS]) alone, as PKD does; [B,H] has one position. width: "mean"
    (PKD; at most 4 / H, so its weight is 500 there) or "sum", the squared distance of the unit vectors (TextBrewer's
    pkd; 0 to 4). Scalar.
    """
    if positions == "first" and student.dim() == 3:
        student, teacher = student[:, 0], teacher[:, 0]
        mask = None if mask is None else mask[:, 0]
    student, teacher = aligned(student, teacher, mask)
    squares = (F.normalize(student, dim=-1) - F.normalize(teacher, dim=-1)).square()
    return masked_mean(squares.sum(-1) if width == "sum" else squares, mask)


@register(
    "cosine",
    eats="hidden",
    source="DistilBERT, Sanh et al. 2019, arXiv:1910.01108",
    formula="1 / N * sum over positions of 1 - cos(h_s, h_t)",
)
def cosine(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """One minus the cosine, mean over valid positions: 0 for the same direction, 2 for the opposite one. Scalar."""
    student, teacher = aligned(student, teacher, mask)
    return masked_mean(1.0 - (F.normalize(student, dim=-1) * F.normalize(teacher, dim=-1)).sum(-1), mask)
