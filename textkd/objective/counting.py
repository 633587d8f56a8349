"""How many items a mean runs over in a batch, so that micro-batches add up to the mean of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from textkd.models.forward import own_columns
from textkd.models.taps import mask_for


def count(mask: Tensor | None, unit: str, batch: Mapping[str, Tensor]) -> Tensor:
    """The rows, valid positions or valid pairs of a batch.

    Args:
        mask: [B, T], or [B, T, T] of pairs; None where a tap has no positions.
        unit: "row", "position" or "pair".
        batch: the columns, [B, ...].
    """
    if mask is None or unit == "row":
        some = next(iter(batch.values()))
        return torch.tensor(float(len(some)), device=some.device)
    if mask.dim() > 2:  # a mask of pairs; its rows are the positions
        return (mask if unit == "pair" else mask.any(-1)).sum().float()
    valid = mask.sum(-1).float()
    return (valid**2).sum() if unit == "pair" else valid.sum()


def padded_length(pair: Any, batch: Mapping[str, Tensor]) -> float:
    """The query-key pairs of a row with its padding, where the loss of a `Pair` divides by them; else 1."""
    if not pair.loss.is_padded(pair.options):
        return 1.0
    mask = mask_for(pair.source.address, own_columns(batch, pair.source.model), None)
    if mask is None:
        return 1.0
    return float(mask.shape[-1] * (mask.shape[-2] if mask.dim() > 2 else mask.shape[-1]))
