"""Whether the weights of a model are numbers."""

from __future__ import annotations

from torch import nn

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
    bad = [
        name for name, weight in model.named_parameters()
        if weight.is_floating_point() and not weight.sum().isfinite() and not weight.isfinite().all()
    ]  # fmt: skip
    if bad:
        weight = model.get_parameter(bad[0])
        count = int((~weight.isfinite()).sum())
        found = f"{count:,} of {weight.numel():,} values of {bad[0]} are not finite (nan or inf)"
        found += f", and some of {len(bad) - 1} further weights" if len(bad) > 1 else ""
        raise fail(asked, found, fix="save the model again from a checkpoint that is sound")
