"""One vector per sample, for losses that compare samples with each other."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from textkd.losses.masking import fill

Pool = Literal["mean", "first"]


def pooled(x: Tensor, mask: Tensor | None, pool: Pool) -> Tensor:
    """[B,T,H] -> [B,H]: the mean of the valid positions (0 where there is none) or the first one; [B,H] as it is."""
    x = fill(x, mask)
    if x.dim() == 2:
        return x
    if pool == "first":
        return x[:, 0]
    return x.mean(1) if mask is None else x.sum(1) / (mask != 0).sum(1, keepdim=True).clamp(min=1)


def valid_rows(mask: Tensor | None, pool: Pool) -> Tensor | None:
    """[B] which samples `pooled` has something of; None: all."""
    if mask is None or mask.dim() == 1:
        return None if mask is None else mask != 0
    return (mask[:, 0] if pool == "first" else mask.any(1)) != 0
