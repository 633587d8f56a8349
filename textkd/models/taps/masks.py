"""Which positions of a tap count."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from textkd.errors import fail
from textkd.models.conventions import IGNORED
from textkd.models.taps.address import CROSS_KINDS, HEAD_KINDS, Address


def mask_for(address: Address, batch: Mapping[str, Tensor], tap: Tensor | None = None) -> Tensor | None:
    """Which positions of a tap count, as a batch tells it.

    Encoders: [B, T] from ``attention_mask``; images have no mask. Attention and scores use it for rows and columns.
    Decoders: [B, T] of the target positions with a label; without labels ``decoder_attention_mask`` tells them, without
    both there is no mask. Attention and scores of a decoder: [B, T, T] of query-key pairs, both valid, the key not
    after the query. Cross-attention: [B, T, S], every column of a valid row ([B, T, 1] without `tap`); its keys and
    values are the encoder's tokens and have no mask. Token-wise logits (and what goes into the head) follow the labels
    that are not -100, if the batch has them; rows ([B, C] logits, pooled) have no mask. ``module:decoder...`` of a
    batch with images follows the target positions if it is shaped like them.

    Args:
        address: of the tap.
        batch: the columns, [B, ...].
        tap: the tensor itself where it is at hand; it tells [B, C] from [B, T, V] and is checked against the mask.

    Returns:
        Bool, true where a position counts; None where every position does.

    Raises:
        TextkdError: the mask and the tap do not belong together, or an attention mask is not [B, T].

    Example:
        >>> mask_for(Address.parse("hidden:1"), {"attention_mask": torch.tensor([[1, 1, 0]])})
        tensor([[ True,  True, False]])
    """
    if address.kind in HEAD_KINDS:
        mask = _of_logits(batch, tap)
    elif address.kind == "pooled":
        mask = None
    elif address.kind == "module":
        mask = _of_module(address, batch, tap)
    elif address.side == "decoder" or address.causal:
        mask = _of_decoder(address, batch, tap)
    else:
        mask = _attended(batch)
    if mask is not None and tap is not None:
        _check(address, mask, tap)
    return mask


def is_empty(mask: Tensor | None) -> bool:
    """Whether a mask leaves no position at all.

    Args:
        mask: of any shape; None leaves all.

    Returns:
        False for None. Reading it waits for the device.

    Example:
        >>> is_empty(torch.zeros(2, 3)), is_empty(None)
        (True, False)
    """
    return mask is not None and not bool(mask.any())


def require_some(mask: Tensor | None, name: str) -> Tensor | None:
    """A mask that leaves something to compare.

    Args:
        mask: of any shape; None leaves all.
        name: of the match, for the message.

    Returns:
        The mask as it is.

    Raises:
        TextkdError: it leaves nothing.

    Example:
        >>> require_some(torch.ones(1, 2), "logits")
        tensor([[1., 1.]])
    """
    if is_empty(mask):
        raise fail(
            f"the match {name}",
            "its mask leaves out every token of this batch, so nothing would be compared",
            fix="check attention_mask and labels of this batch",
        )
    return mask


def _of_logits(batch: Mapping[str, Tensor], tap: Tensor | None) -> Tensor | None:
    if tap is not None and tap.dim() < 3:
        return None
    labelled = _labelled(batch)
    if labelled is not None or (tap is None and "decoder_attention_mask" not in batch):
        return labelled
    return _targets(batch)


def _of_module(address: Address, batch: Mapping[str, Tensor], tap: Tensor | None) -> Tensor | None:
    of_targets = "pixel_values" in batch and address.path.partition(".")[0] == "decoder"
    mask = _targets(batch) if of_targets else _attended(batch)
    if mask is None or tap is None:
        return mask
    return mask if tap.dim() >= 3 and tap.shape[:2] == mask.shape else None


def _of_decoder(address: Address, batch: Mapping[str, Tensor], tap: Tensor | None) -> Tensor | None:
    if address.kind in ("cross_key", "cross_value"):
        return None
    valid = _targets(batch)
    if address.family not in ("attention", "scores"):
        return valid
    if address.kind in CROSS_KINDS:
        if valid is None:
            return None
        return valid[:, :, None].expand(-1, -1, 1 if tap is None else tap.shape[-1])
    if valid is None:
        valid = _everywhere(batch, tap)
    return None if valid is None else (valid[:, :, None] & valid[:, None, :]).tril()


def _targets(batch: Mapping[str, Tensor]) -> Tensor | None:
    """[B, T] target positions that count; None if the batch does not tell."""
    labelled = _labelled(batch)
    if labelled is not None:
        return labelled
    return _attended(batch, "decoder_attention_mask" if "decoder_attention_mask" in batch else "attention_mask")


def _everywhere(batch: Mapping[str, Tensor], tap: Tensor | None) -> Tensor | None:
    """[B, T] of true: without a mask a decoder's attention is still causal."""
    if tap is not None:
        return torch.ones(tap.shape[0], tap.shape[-1], dtype=torch.bool, device=tap.device)
    ids = batch.get("decoder_input_ids", batch.get("input_ids"))
    return None if ids is None else torch.ones_like(ids, dtype=torch.bool)


def _labelled(batch: Mapping[str, Tensor]) -> Tensor | None:
    labels = batch.get("labels")
    # floating labels [B, C] are multi-label targets, not tokens
    return None if labels is None or labels.dim() != 2 or labels.is_floating_point() else labels != IGNORED


def _attended(batch: Mapping[str, Tensor], name: str = "attention_mask") -> Tensor | None:
    mask = batch.get(name)
    if mask is None:
        return None
    if mask.dim() != 2:
        raise fail(f"{name} [B, T]", f"shape {list(mask.shape)}", fix="a 0/1 tensor per token")
    return mask.to(torch.bool)


def _check(address: Address, mask: Tensor, tap: Tensor) -> None:
    length = tap.shape[-2] if address.family in ("attention", "scores", "heads") else tap.shape[1]
    needed = (tap.shape[0], length) if mask.dim() == 2 else (tap.shape[0], length, tap.shape[-1])
    if needed != tuple(mask.shape):
        raise fail(
            f'a mask for "{address}"',
            f"mask {list(mask.shape)} beside a tap {list(tap.shape)}",
            fix="give the batch that made this tap",
        )
