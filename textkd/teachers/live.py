"""A teacher that computes its taps anew for every batch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from textkd.inputs import inputs_of
from textkd.taps import Capture


class Teacher(Protocol):
    """What gives a teacher's taps: `LiveTeacher`, `textkd.teachers.CachedTeacher`."""

    def taps(self, batch: Mapping[str, Tensor], example_id: Tensor | None = None) -> dict[str, Tensor]: ...
    def close(self) -> None: ...


class LiveTeacher:
    """Runs `model` in eval mode under no_grad, only as far as the last tap that somebody asked for. Gradient taps run
    the blocks above them with a graph, for one backward.

    addresses: the taps to read. autocast: the dtype to compute in (None: the model's own). The model's modes come back
    with `close`; its parameters are never touched.
    """

    def __init__(self, model: nn.Module, addresses: Sequence[str], autocast: torch.dtype | None = None) -> None:
        self.model = model
        self.autocast = autocast
        self._training = [module for module in model.modules() if module.training]
        model.eval()
        self._capture = Capture(model, list(addresses), stop_early=True)

    def taps(self, batch: Mapping[str, Tensor], example_id: Tensor | None = None) -> dict[str, Tensor]:
        """The asked taps of `batch` by address, without gradient. `batch` may hold more columns than the teacher takes;
        `example_id` is for teachers that look their taps up."""
        device = next(self.model.parameters()).device
        with torch.no_grad(), self._precision(device.type):
            inputs = inputs_of(self.model, batch)
            return self._capture.run(self.model, tap_labels=batch.get("labels"), **inputs)["taps"]

    def _precision(self, device_type: str) -> contextlib.AbstractContextManager[object]:
        if self.autocast is None:
            # the caller's autocast (the student's) must not leak in, nor its cache of cast weights
            return torch.autocast(device_type, enabled=False)
        return torch.autocast(device_type, dtype=self.autocast)

    def close(self) -> None:
        """Takes the hooks off and gives every module the mode it came with."""
        self._capture.remove()
        for module in self._training:
            module.training = True
