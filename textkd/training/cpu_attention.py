"""Which of PyTorch's kernels a training step runs on."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# tokens up to which plain attention is the faster one whatever its heads (benchmarks/attention.py)
SHORT = 160
UNKNOWN = ("position_bias", "cache", "softcap")


def bf16_attention(
    models: Mapping[str, nn.Module], batch: Mapping[str, Tensor]
) -> contextlib.AbstractContextManager[object]:
    """What a training step in bf16 on a CPU runs its student in: short sequences without SDPA's fused kernel, which is
    slow backward there (torch 2.13; docs/decisions/008)."""
    # in the backward, where this context is over
    parts = (part for model in models.values() for part in model.modules())
    recomputed = any(getattr(part, "gradient_checkpointing", False) for part in parts)
    long = any(longest(model, batch) > SHORT for model in models.values())
    return contextlib.nullcontext() if recomputed or long else plain_attention()


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Models whose attention is "sdpa" attend by `attend`; modules that call SDPA themselves, by its plain kernel."""
    fused = ALL_ATTENTION_FUNCTIONS["sdpa"]
    ALL_ATTENTION_FUNCTIONS["sdpa"] = functools.partial(attend, fused)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        del ALL_ATTENTION_FUNCTIONS["sdpa"]  # else what is registered later would stay hidden behind it
        if ALL_ATTENTION_FUNCTIONS["sdpa"] is not fused:  # somebody had put it there in the same way
            ALL_ATTENTION_FUNCTIONS["sdpa"] = fused


def attend(
    fused: Callable[..., Any],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention function as two products of matrices in the dtype of its inputs, as its "eager" has it
    (the softmax sums in float32). query, key, value [B,h,T,d]; out [B,T,h,d]. What it does not know (causal without a
    mask, shared heads, biases, caches) goes to `fused`."""
    asked = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if asked is None else asked
    if (
        (causal and attention_mask is None)
        or key.shape[1] != query.shape[1]
        or any(kwargs.get(name) is not None for name in UNKNOWN)
    ):
        return fused(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    # the query is scaled, not the scores: it is smaller
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(2, 3))
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        none, lowest = torch.zeros((), dtype=scores.dtype), torch.finfo(scores.dtype).min
        attention_mask = torch.where(attention_mask, none, lowest)  # small where rows share it, and adding is cheap
    if attention_mask is not None:
        scores = scores + attention_mask
    dropped = nn.functional.dropout(scores.softmax(dim=-1), p=dropout, training=module.training)
    return torch.matmul(dropped, value).transpose(1, 2).contiguous(), None


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
