"""Rows that nobody wrote, to try a model on where the data cannot be read."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def made_up_batch(model: nn.Module, per_token: bool = False) -> dict[str, Tensor]:
    """Two short rows of arbitrary tokens (beside blank images, where the model reads those), to try taps on where the
    data cannot be read. per_token: every token has a label of its own."""
    config = getattr(model, "config", None)
    encoder, size = getattr(config, "encoder", None), getattr(getattr(config, "decoder", config), "vocab_size", 16)
    ids = torch.arange(2 * 4).reshape(2, 4) % size
    if encoder is None or not hasattr(encoder, "image_size"):
        labels = torch.zeros_like(ids if per_token else ids[:, 0])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    side = encoder.image_size
    height, width = (side, side) if isinstance(side, int) else side
    images = torch.zeros(2, getattr(encoder, "num_channels", 3), height, width)
    return {"pixel_values": images, "labels": ids, "decoder_input_ids": ids}
