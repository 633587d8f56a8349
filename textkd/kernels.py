"""Which of PyTorch's kernels a training step runs on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

# tokens up to which plain attention is the faster one whatever its heads (benchmarks/attention.py)
SHORT = 160


def bf16_attention(model: nn.Module, batch: Mapping[str, Tensor]) -> contextlib.AbstractContextManager[object]:
    """What a training step in bf16 on a CPU runs its student in: short sequences without the fused kernel of SDPA,
    which is slow backward there (torch 2.13; docs/decisions/008). What remains of SDPA does the same in float32, and
    keeps the probabilities of short sequences only. With dropout in the attention PyTorch takes that one by itself."""
    recomputed = getattr(model, "is_gradient_checkpointing", False)  # in the backward, where this context is over
    plain = not recomputed and longest(model, batch) <= SHORT
    return sdpa_kernel(SDPBackend.MATH) if plain else contextlib.nullcontext()


def longest(model: nn.Module, batch: Mapping[str, Tensor]) -> int:
    """The most tokens that a sequence of this batch has on any side of the model: words, characters or patches."""
    found = [batch[name].shape[1] for name in ("input_ids", "labels", "decoder_input_ids") if _is_sequence(batch, name)]
    if "pixel_values" in batch:
        config: Any = model.config
        patch = getattr(getattr(config, "encoder", config), "patch_size", 1)
        rows, columns = (patch, patch) if isinstance(patch, int) else patch
        height, width = batch["pixel_values"].shape[-2:]
        found.append((height // rows) * (width // columns) + 2)  # CLS, and DeiT's distillation token
    return max(found, default=0)


def _is_sequence(batch: Mapping[str, Tensor], name: str) -> bool:
    return name in batch and batch[name].dim() == 2
