"""What losses with weights of their own share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.shapes import Shape


def affine(layer: nn.Linear, x: Tensor) -> Tensor:
    """`layer(x)` in the type of `x`: on a half precision student the weights are half precision, a loss is not."""
    return F.linear(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))


def width_of(shape: Shape, name: str) -> int:
    """The last axis of a tap's shape, for the loss `name`."""
    if shape[-1] is None:
        raise fail(f"the loss {name}", "the width of a tap is not known", fix="tap hidden states or logits")
    return shape[-1]


def options_of(module: nn.Module, *names: str) -> str:
    """`name=value, ...` for an `extra_repr`: the core tells two losses of one name apart by their repr."""
    return ", ".join(f"{name}={getattr(module, name)}" for name in names)
