"""Weights that are no numbers."""

from __future__ import annotations

from transformers import PreTrainedModel

from textkd.errors import fail


def check_finite(asked: str, model: PreTrainedModel) -> None:
    """Raises `TextkdError` with the names of weights that hold NaN or inf: every loss on them would be nan."""
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
