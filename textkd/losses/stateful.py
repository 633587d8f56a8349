"""Parts of losses that own weights or memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shape = Sequence[int]


class Linear(nn.Linear):
    """A linear map that computes in the type of its input, also on a student that was loaded in half precision."""

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
