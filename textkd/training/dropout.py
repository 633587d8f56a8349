"""Dropout of a training, whatever the model was built with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from textkd.errors import fail

# what transformers' own code names the rates that it hands to functional dropout
RATES = ("dropout", "attention_dropout", "activation_dropout")


@contextmanager
def dropout(model: nn.Module, rate: float | None) -> Iterator[None]:
    """Inside, every dropout of `model` has this rate; None leaves the model as it is. The model's config, which is
    saved with it, keeps its own rates. Raises `TextkdError` where the model has no dropout to be set."""
    if rate is None:
        yield
        return
    places = list(_places(model))
    if not places and rate > 0:
        raise fail(f"dropout {rate}", f"{type(model).__name__} was built without dropout", fix="leave dropout out")
    for module, name, _ in places:
        setattr(module, name, rate)
    try:
        yield
    finally:
        for module, name, before in places:
            setattr(module, name, before)


def _places(model: nn.Module) -> Iterator[tuple[Any, str, float]]:
    for module in model.modules():
        names = ("p",) if isinstance(module, nn.Dropout) else RATES
        for name in names:
            value = vars(module).get(name)
            if isinstance(value, int | float):
                yield module, name, float(value)
