"""What transformers leaves broken in a model that it loads, and what its config may ask of its outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def repair_positions(model: nn.Module) -> int:
    """Makes the sinusoidal position embeddings of TrOCR decoders whole, in place.

    transformers 5.23 keeps their table as a plain attribute: `from_pretrained` leaves it on the meta device (the first
    forward fails), `.to(...)` does not move it. It becomes a buffer that is not saved, computed anew by the module's
    own formula, with the dtype and device of the model's weights. Learned positions are left alone.

    Args:
        model: any model; most have no such table.

    Returns:
        How many there were.

    Example:
        >>> repair_positions(nn.Linear(2, 2))
        0
    """
    repaired = 0
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    for module in model.modules():
        table = getattr(module, "weights", None)
        if not hasattr(module, "get_embedding") or not isinstance(table, Tensor):
            continue
        part: Any = module
        del part.weights
        table = part.get_embedding(table.shape[0], part.embedding_dim, part.padding_idx)
        part.register_buffer("weights", table.to(device=like.device, dtype=like.dtype), persistent=False)
        repaired += 1
    return repaired


PLAIN = {"return_dict": True, "output_attentions": False, "output_hidden_states": False, "chunk_size_feed_forward": 0}


def plain_outputs(model: nn.Module) -> None:
    """Makes a model return named outputs, no more than it is asked for, of rows of any length, in place.

    A config may say otherwise for all its life (``return_dict: false``, ``output_attentions: true``,
    ``chunk_size_feed_forward``); none of it changes a weight or a logit.

    Args:
        model: any model; without a config nothing happens.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> model = BertModel(BertConfig(num_hidden_layers=1, hidden_size=4, num_attention_heads=1, return_dict=False))
        >>> plain_outputs(model)
        >>> model.config.return_dict
        True
    """
    for module in model.modules():
        config = getattr(module, "config", None)
        for part in (config, getattr(config, "encoder", None), getattr(config, "decoder", None)):
            for name, value in PLAIN.items():
                if getattr(part, name, value) != value:
                    setattr(part, name, value)
        if getattr(module, "chunk_size_feed_forward", 0):
            module.chunk_size_feed_forward = 0  # type: ignore[assignment]
