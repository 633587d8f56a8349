"""Students that grow: Net2Net, and how often BERT-of-Theseus replaces a block."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from referee import Case, original
from torch import Tensor, nn

from textkd.models.students.grow import deepen, widen
from textkd.objective.schedules import jump_at_step, linear_per_step


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A layer of weights that the original has as [in, out]."""
    layer = nn.Linear(*weight.shape, bias=bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight.T)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


@original("net2net", "wider_fc")
def wider(case: Case) -> dict[str, Any]:
    old, new = case["W1"].shape[1], case.params["new_width"]
    copies = np.random.RandomState(case.params["np_seed"]).randint(old, size=new - old)
    first, second = _linear(case["W1"], case["b1"]), _linear(case["W2"])
    wide_first, wide_second = widen(first, second, copies.tolist())
    identity = deepen(first)
    before, after = second(first(case["x"]).relu()), wide_second(wide_first(case["x"]).relu())
    return {
        "W1": wide_first.weight.T,
        "b1": wide_first.bias,
        "W2": wide_second.weight.T,
        "mapping": torch.as_tensor(copies),
        "deeper_W": identity.weight.T,
        "deeper_b": identity.bias,
        "y": after,
        "loss": (after - before).abs().max(),
    }


def _rates(schedule: Any, steps: int) -> dict[str, Tensor]:
    rates = torch.tensor([schedule(step / steps) for step in range(1, steps + 1)], dtype=torch.float64)
    return {"rates": rates, "loss": rates.sum()}


@original("theseus", "LinearReplacementScheduler")
def theseus_linear(case: Case) -> dict[str, Tensor]:
    steps = len(case.outputs["rates"])
    return _rates(linear_per_step(case.params["base_replacing_rate"], case.params["k"], steps), steps)


@original("theseus", "ConstantReplacementScheduler")
def theseus_constant(case: Case) -> dict[str, Tensor]:
    steps = len(case.outputs["rates"])
    return _rates(jump_at_step(case.params["replacing_rate"], case.params["replacing_steps"], steps), steps)
