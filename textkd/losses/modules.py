"""What losses with weights of their own share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.shapes import Shape


def width_of(shape: Shape, name: str) -> int:
    """The last axis of a tap's shape, for the loss `name`."""
    if shape[-1] is None:
        raise fail(f"the loss {name}", "the width of a tap is not known", fix="tap hidden states or logits")
    return shape[-1]


def options_of(module: nn.Module, *names: str) -> str:
    """`name=value, ...` for an `extra_repr`: the core tells two losses of one name apart by their repr."""
    return ", ".join(f"{name}={getattr(module, name)}" for name in names)


class Linear(nn.Linear):
    """A linear map that computes in the type of its input: the weights of a half precision student are half precision,
    a loss is not."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Learner(nn.Module):
    """A loss that sets itself up from the first batches that it sees. The buffer `ready` says that this is over.

    On several processes each sets itself up from its own batch; DDP sends the buffers of the first to the others
    before the next step.
    """

    ready: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        self._ready = False  # what the buffer says, once it is true: reading it waits for the device

    def is_ready(self) -> bool:
        """Whether the first batches are over."""
        self._ready = self._ready or bool(self.ready)
        return self._ready

    def _load_from_state_dict(self, *arguments: Any, **keywords: Any) -> None:
        self._ready = False
        super()._load_from_state_dict(*arguments, **keywords)
