"""Which positions of a tap count."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from textkd.errors import fail
from textkd.taps.address import Address

IGNORED = -100  # transformers' label for positions that have none


def mask_for(address: Address, batch: Mapping[str, Tensor], tap: Tensor | None = None) -> Tensor | None:
    """Bool [B, T], true where `address` counts; None where every position does.

    Token-wise taps follow ``attention_mask``; token-wise logits follow the labels that are not -100, if the batch has
    them; the decoder side always follows its labels; rows ([B, C] logits, pooled) and images have no mask.
    tap: the tensor itself where it is at hand; it tells [B, C] from [B, T, V] and is checked against the mask.
    Attention and scores use the mask for rows and columns.
    """
    if address.kind in ("labels", "logits"):
        mask = _of_logits(address, batch, tap)
    elif address.kind == "pooled" or (address.kind == "module" and tap is not None and not _token_wise(tap, batch)):
        mask = None
    else:
        mask = _labelled(batch) if address.side == "decoder" else _attended(batch)
    if mask is not None and tap is not None:
        _check(address, mask, tap)
    return mask


def is_empty(mask: Tensor | None) -> bool:
    """Whether `mask` leaves no position at all."""
    return mask is not None and not bool(mask.any())


def require_some(mask: Tensor | None, name: str) -> Tensor | None:
    """`mask`, or a `TextkdError` if it leaves nothing to compare."""
    if is_empty(mask):
        raise fail(
            f"the mask of {name}",
            "it masks everything, so nothing would be compared",
            fix="check attention_mask and labels of this batch",
        )
    return mask


def _of_logits(address: Address, batch: Mapping[str, Tensor], tap: Tensor | None) -> Tensor | None:
    if tap is not None and tap.dim() < 3:
        return None
    labelled = _labelled(batch)
    if labelled is not None or tap is None or address.side == "decoder":
        return labelled
    return _attended(batch)


def _labelled(batch: Mapping[str, Tensor]) -> Tensor | None:
    labels = batch.get("labels")
    # floating labels [B, C] are multi-label targets, not tokens
    return None if labels is None or labels.dim() != 2 or labels.is_floating_point() else labels != IGNORED


def _attended(batch: Mapping[str, Tensor]) -> Tensor | None:
    mask = batch.get("attention_mask")
    if mask is None:
        return None
    if mask.dim() != 2:
        raise fail("attention_mask [B, T]", f"shape {list(mask.shape)}", fix="a 0/1 tensor per token")
    return mask.to(torch.bool)


def _token_wise(tap: Tensor, batch: Mapping[str, Tensor]) -> bool:
    mask = batch.get("attention_mask")
    return mask is not None and tap.dim() >= 3 and tap.shape[:2] == mask.shape


def _check(address: Address, mask: Tensor, tap: Tensor) -> None:
    length = tap.shape[-2] if address.family in ("attention", "scores", "heads") else tap.shape[1]
    if (tap.shape[0], length) != tuple(mask.shape):
        raise fail(
            f'a mask for "{address}"',
            f"mask {list(mask.shape)} beside a tap {list(tap.shape)}",
            fix="give the batch that made this tap",
        )
