"""Weights in the type that autocast computes in, cast once and not anew in every forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class Narrow:
    """`model` with copies of its linear layers' float32 weights in `dtype`; called under autocast of that type, it
    gives what the model gives there, bit by bit. Weights that have changed in between are cast anew.

    The model itself keeps its weights. The copies take two bytes for each of theirs.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self._wide: dict[str, Tensor] = {}
        self._narrow: dict[str, Tensor] = {}
        self._seen: list[tuple[int, int, torch.device]] = []

    def __call__(self, **inputs: Any) -> Any:
        """The model's forward, with its hooks."""
        # tied weights (an embedding's) stay wide in their other place, as autocast has it
        return functional_call(self.model, self._weights(), (), inputs, tie_weights=False)

    def _weights(self) -> dict[str, Tensor]:
        self._wide = self._wide or _linear_weights(self.model)
        seen = [(p.data_ptr(), p._version, p.device) for p in self._wide.values()]
        if seen != self._seen:
            self._narrow = {name: p.detach().to(self.dtype) for name, p in self._wide.items()}
            self._seen = seen
        return self._narrow


def _linear_weights(model: nn.Module) -> dict[str, Tensor]:
    """By name, also those that stand in several places; no weights of a kind of their own (sharded, quantised)."""
    return {
        f"{path}.{name}".lstrip("."): parameter
        for path, module in model.named_modules()
        if type(module) is nn.Linear
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dtype == torch.float32 and type(parameter) is nn.Parameter and type(parameter.data) is Tensor
    }
