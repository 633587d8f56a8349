"""Taps of a model that recomputes its activations in the backward: what works, and what would be wrong silently."""

from __future__ import annotations

from collections.abc import Sequence

import transformers
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from textkd.errors import fail
from textkd.models.taps.address import Address

# until transformers 5.21 a checkpoint covers a block and its hooks, since then the block alone
HOOKS_ARE_RECOMPUTED = "__call__" in vars(GradientCheckpointingLayer)


def refuse_bad_checkpointing(model: nn.Module, lent: Sequence[Address], roots: Sequence[Address] = ()) -> None:
    """Raises `TextkdError` if `model` checkpoints activations in the reentrant way, or at all with gradient taps
    (`roots`), or if it lends attention modules for `lent` taps under a transformers that recomputes a block with its
    hooks: without the capture they would choose another kernel."""
    for module in model.modules():
        if not getattr(module, "gradient_checkpointing", False):
            continue
        if roots:
            raise fail(
                f'tap "{roots[0]}" under gradient checkpointing',
                "the gradient is taken inside the forward: blocks would be recomputed for it and in the backward",
                fix="gradient_checkpointing: false, or smaller batches with gradient accumulation",
            )
        if HOOKS_ARE_RECOMPUTED and lent:
            raise fail(
                "taps inside attention under gradient checkpointing",
                f"transformers {transformers.__version__}, which recomputes hooks too",
                fix="transformers 5.21 or newer (Python 3.11 or newer), or no gradient checkpointing",
            )
        function = getattr(module, "_gradient_checkpointing_func", None)
        # torch's own default is reentrant; transformers writes use_reentrant=False unless told otherwise
        if getattr(function, "keywords", {}).get("use_reentrant") is not False:
            raise fail(
                "taps under reentrant gradient checkpointing",
                "inner taps would lose their gradient, silently",
                fix='gradient_checkpointing_kwargs: {"use_reentrant": false}',
            )
