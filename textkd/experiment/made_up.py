"""Rows that nobody wrote, to try a model on where the data cannot be read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TOKENS = 4


def made_up_batch(model: nn.Module, per_token: bool = False, most: int = TOKENS) -> dict[str, Tensor]:
    """Two short rows of arbitrary tokens (beside blank images, where the model reads those), to try taps on where the
    data cannot be read. per_token: every token has a label of its own. most: tokens, where a model
    has positions for few."""
    config = getattr(model, "config", None)
    encoder, size = getattr(config, "encoder", None), getattr(getattr(config, "decoder", config), "vocab_size", 16)
    ids = torch.arange(2 * TOKENS).reshape(2, TOKENS)[:, : max(1, most)] % size
    if encoder is None or not hasattr(encoder, "image_size"):
        labels = torch.zeros_like(ids if per_token else ids[:, 0])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    side = encoder.image_size
    height, width = (side, side) if isinstance(side, int) else side
    images = torch.zeros(2, getattr(encoder, "num_channels", 3), height, width)
    return {"pixel_values": images, "labels": ids, "decoder_input_ids": ids}
