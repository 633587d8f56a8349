"""Attention maps, scores, queries, keys and values of the tapped blocks alone; all others keep their fast kernels.

How: a hook on a tapped block hands its attention a ticket among the keyword arguments, which transformers' blocks pass
on down to the attention function. A hook on the attention module that sees a ticket lends the module a copy of its
config that names our function, for this one call. So nothing is changed while no capture is active, masks are made by
the model's own implementation, and a checkpointed block, which is recomputed with the same arguments, takes the same
path again. Under FSDP and DDP the same holds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from textkd.models.taps.recorder import Hook, Recorder

NAME = "textkd_tap"
TICKETS, NATIVE = "textkd_tickets", "textkd_native"


@dataclass(frozen=True, eq=False)
class Ticket:
    """What one capture wants of one attention call: kind -> key of the tap."""

    recorder: Recorder
    wants: Mapping[str, str]

    def record(self, kind: str, value: Tensor) -> None:
        if kind in self.wants:
            self.recorder.record(self.wants[kind], value)


class BlockHook(Hook):
    """Pre-hook (with kwargs) on a block: hands in a ticket for the kinds in `options`."""

    def __call__(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        recorder = self.recorder()
        if recorder is None:
            return None
        ticket = Ticket(recorder, self.options)
        return args, {**kwargs, TICKETS: (*kwargs.get(TICKETS, ()), ticket)}


class LendHook(Hook):
    """Pre-hook (with kwargs) on an attention module: lends it our config if there is a ticket."""

    lent_over: Any = None

    def __call__(self, module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        if TICKETS not in kwargs or module.config._attn_implementation == NAME:
            return None
        self.lent_over = module.config
        module.config = copy.copy(module.config)
        module.config._attn_implementation = NAME
        return args, {**kwargs, NATIVE: self.lent_over._attn_implementation}


class ReturnHook(Hook):
    """Forward hook, called even after an error: gives the attention module its own config back."""

    def __call__(self, module: Any, args: Any, output: Any) -> None:
        lend: LendHook = self.options["lend"]
        if lend.lent_over is not None:
            module.config, lend.lent_over = lend.lent_over, None


def tapped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention function that records. query, key, value [B, h, T, d] as the kernel gets them.

    Returns (output [B, T, h, d], probabilities or None). Probabilities are recorded in float32, before dropout; scores
    are scaled and without mask. A row whose every key is masked gets zeros, as SDPA gives.
    """
    tickets: tuple[Ticket, ...] = kwargs.pop(TICKETS, ())
    native: str | None = kwargs.pop(NATIVE, None)
    heads = {"query": query, "key": key, "value": value}
    for ticket in tickets:
        for kind, tensor in heads.items():
            ticket.record(kind, tensor)
    if native == "sdpa" and not any({"attention", "scores"} & set(ticket.wants) for ticket in tickets):
        return ALL_ATTENTION_FUNCTIONS[native](  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    # the query is scaled, not the scores: it is smaller
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(2, 3))
    for ticket in tickets:
        ticket.record("scores", scores)
    kept = any("scores" in ticket.wants for ticket in tickets)
    probabilities = softmax(scores, attention_mask, overwrite=not kept)
    for ticket in tickets:
        ticket.record("attention", probabilities)
    dropped = nn.functional.dropout(probabilities, p=dropout, training=module.training)
    output = torch.matmul(dropped.to(value.dtype), value).transpose(1, 2).contiguous()
    return output, None if native == "sdpa" else probabilities.to(query.dtype)


def softmax(scores: Tensor, mask: Tensor | None, overwrite: bool = False) -> Tensor:
    """Probabilities in float32 over the keys that `mask` (bool, or added to the scores) leaves. overwrite: nobody reads
    the scores afterwards."""
    scores = scores.float()
    if mask is None:
        return scores.softmax(dim=-1)
    lowest, is_bool = torch.finfo(scores.dtype).min, mask.dtype == torch.bool
    # added and not filled in: heads share it, the gradient needs no pass, and lowest + score is lowest, without a NaN
    # where a row has no key
    added = torch.where(mask, 0.0, lowest) if is_bool else mask.float().clamp(min=lowest)
    if overwrite and not scores.requires_grad and scores.device.type == "cpu":  # no second tensor of this size
        probabilities = torch.softmax(scores.add_(added), dim=-1, out=scores)
    else:
        probabilities = (scores.add_(added) if overwrite else scores + added).softmax(dim=-1)
    return probabilities.masked_fill(~mask, 0.0) if is_bool and _may_have_no_key(mask) else probabilities


def _may_have_no_key(mask: Tensor) -> bool:
    """Whether a row of `mask` is empty, or looking would make an accelerator wait or break a compiled graph."""
    return mask.device.type != "cpu" or torch.compiler.is_compiling() or not bool(mask.any(-1).all())


AttentionInterface.register(NAME, tapped_attention)
# a model whose own config names our function still needs masks: without this line transformers makes none, silently
AttentionMaskInterface.register(NAME, sdpa_mask)
