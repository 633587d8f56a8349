"""A teacher that computes its taps anew for every batch."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from textkd.taps import Capture


class LiveTeacher:
    """Runs `model` in eval mode under no_grad, only as far as the last tap that somebody asked for.

    addresses: the taps to read. autocast: the dtype to compute in (None: the model's own). The model's modes come back
    with `close`; its parameters are never touched.
    """

    def __init__(self, model: nn.Module, addresses: Sequence[str], autocast: torch.dtype | None = None) -> None:
        self.model = model
        self.autocast = autocast
        self._accepts = forward_inputs(model)
        self._training = [module for module in model.modules() if module.training]
        model.eval()
        self._capture = Capture(model, list(addresses), stop_early=True)

    def taps(self, batch: Mapping[str, Tensor], example_id: Tensor | None = None) -> dict[str, Tensor]:
        """The asked taps of `batch` by address, without gradient. `batch` may hold more columns than the teacher takes;
        `example_id` is for teachers that look their taps up."""
        device = next(self.model.parameters()).device
        inputs = {k: v.to(device, non_blocking=True) for k, v in batch.items() if k in self._accepts and k != "labels"}
        with torch.no_grad(), self._precision(device.type):
            return self._capture.run(self.model, **inputs)["taps"]

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


def forward_inputs(model: nn.Module) -> frozenset[str]:
    """The named inputs of `model.forward`: each model gets what its signature takes, nothing else."""
    parameters = inspect.signature(model.forward).parameters.values()
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
