"""What a model's forward takes of a batch: each model gets what its signature names, nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from torch import Tensor, nn


def forward_inputs(model: nn.Module) -> frozenset[str]:
    """The named inputs of `model.forward`."""
    parameters = inspect.signature(model.forward).parameters.values()
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def inputs_of(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The columns of `batch` that `model` takes, without labels, on the model's device."""
    accepts, device = forward_inputs(model), next(model.parameters()).device
    return {k: v.to(device, non_blocking=True) for k, v in batch.items() if k in accepts and k != "labels"}
