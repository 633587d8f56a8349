"""Losses on queries, keys or values per head [B,h,T,d] (mask [B,T])."""

from __future__ import annotations

from torch import Tensor

from textkd.losses.masking import aligned, masked_mean
from textkd.losses.registry import register


@register(
    "mse",
    family="heads",
    source="element-wise form of FitNets, arXiv:1412.6550, on q, k or v",
    formula="mean over heads, valid positions and head width of (q_s - q_t)^2",
)
def mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference over heads, valid positions and head width. Scalar."""
    student, teacher = aligned(student.transpose(1, 2), teacher.transpose(1, 2), mask)
    return masked_mean((student - teacher).square(), mask)
