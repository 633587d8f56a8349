"""Attention modules with code of their own (TrOCR): maps, scores, queries, keys and values from their projections.

transformers' attention interface never sees these modules and their blocks pass no keyword arguments down, so nothing
is changed in them: the outputs of the query, key and value layers and the mask are kept as they pass, and scores and
probabilities are computed from them after the forward, in float32, with the gradient of that very forward. After it,
because a checkpointed block must save the same tensors again when it is recomputed, and by then no capture is active.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from textkd.errors import fail
from textkd.models.taps.attention import softmax
from textkd.models.taps.recorder import Hook, Switch

PARTS = ("query", "key", "value")


class Projected:
    """What one call of an attention module has computed. parts: outputs [B, T, H] of its projections. mask: what is
    added to the scores, or None."""

    def __init__(self, module: Any, mask: Tensor | None) -> None:
        self.num_heads, self.scaling = int(module.num_heads), float(module.scaling)
        self.mask = mask
        self.parts: dict[str, Tensor] = {}

    def tap(self, kind: str) -> Tensor:
        """query (before the scaling), key, value [B, h, T, d]; scores (without mask), attention [B, h, T, S]."""
        if kind in PARTS:
            rows, length, _ = self.parts[kind].shape
            return self.parts[kind].reshape(rows, length, self.num_heads, -1).transpose(1, 2)
        return self.scores if kind == "scores" else softmax(self.scores, self.mask)

    @cached_property
    def scores(self) -> Tensor:
        query, key = (_widen(self.tap(kind)) for kind in ("query", "key"))
        device = query.device.type
        known = torch.amp.is_autocast_available(device)
        with torch.autocast(device, enabled=False) if known else contextlib.nullcontext():
            return torch.matmul(query * self.scaling, key.transpose(2, 3))


class EnterHook(Hook):
    """Pre-hook (with kwargs) on an attention module: begins a `Projected` if it is our turn."""

    call_now: Projected | None = None

    def __call__(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        self.call_now = None if self.recorder() is None else Projected(module, kwargs.get("attention_mask"))


class PartHook(Hook):
    """Forward hook on a projection: keeps its output."""

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> None:
        call: Projected | None = self.options["enter"].call_now
        if call is not None:
            call.parts[self.options["part"]] = output


class LeaveHook(Hook):
    """Forward hook on an attention module: records what is wanted of its call, to be computed after the forward."""

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        enter: EnterHook = self.options["enter"]
        call, enter.call_now = enter.call_now, None
        recorder = self.switch.recorder
        if call is None or recorder is None:
            return
        key = call.parts.get("key")
        if key is None or (call.mask is not None and call.mask.shape[-1] != key.shape[1]):
            raise fail(
                f'tap "{self.key}"',
                "the forward took keys of earlier tokens from a cache",
                fix="a forward over the whole target, without past_key_values",
            )
        for kind, tap in self.options["wants"].items():
            recorder.record(tap, partial(call.tap, kind))


def install(
    module: nn.Module, switch: Switch, projections: tuple[str, str, str], wants: Mapping[str, str]
) -> list[RemovableHandle]:
    """Hooks on one attention module and its `projections` (query, key, value). wants: kind -> key of the tap."""
    name = " ".join(wants.values())
    enter = EnterHook(switch, name)
    handles = [module.register_forward_pre_hook(enter, with_kwargs=True)]
    for part, path in zip(PARTS, projections, strict=True):
        hook = PartHook(switch, name, options={"enter": enter, "part": part})
        handles.append(module.get_submodule(path).register_forward_hook(hook))
    leave = LeaveHook(switch, name, options={"enter": enter, "wants": wants})
    return [*handles, module.register_forward_hook(leave)]


def _widen(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
