"""Whether the weights of a model are numbers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from textkd.errors import fail


def check_finite(asked: str, model: nn.Module) -> None:
    """Looks for NaN and inf: every loss on them would be nan.

    Args:
        asked: what the model is, for the message.
        model: any.

    Raises:
        TextkdError: with the names of the weights that hold some.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> check_finite("the model", layer)
        >>> _ = layer.bias.data.fill_(float("inf"))
        >>> check_finite("the model", layer)
        Traceback (most recent call last):
        ...
        textkd.errors.TextkdError: asked: the model
          found: 2 of 2 values of bias are not finite (nan or inf)
          fix: save the model again from a checkpoint that is sound
    """
    bad = {
        name: weight for name, weight in (*model.named_parameters(), *_saved_buffers(model))
        if weight.is_floating_point() and not weight.sum().isfinite() and not weight.isfinite().all()
    }  # fmt: skip
    if bad:
        name, weight = next(iter(bad.items()))
        count = int((~weight.isfinite()).sum())
        found = f"{count:,} of {weight.numel():,} values of {name} are not finite (nan or inf)"
        found += f", and some of {len(bad) - 1} further weights" if len(bad) > 1 else ""
        raise fail(asked, found, fix="save the model again from a checkpoint that is sound")


def _saved_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The buffers that stand in the file beside the weights, as the means of a batch norm; a mask may be -inf."""
    for prefix, module in model.named_modules():
        for name, buffer in module.named_buffers(prefix, recurse=False):
            if name.rpartition(".")[2] not in module._non_persistent_buffers_set and not (buffer == -torch.inf).any():
                yield name, buffer
