"""A model's logits on encoded rows, in the rows' order. Used for final metrics and for `textkd eval`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from textkd.models.forward import evaluating, inputs_of


def predict(
    model: nn.Module, rows: Any, collator: Callable[[list[Any]], dict[str, Tensor]], batch_size: int = 64
) -> np.ndarray[Any, Any]:
    """[N, C] float32 logits of `model` on the `rows` of an encoded data set, in float32 and eval mode; batches are
    sorted by length, so little is padded. Every module's mode comes back."""
    order = (
        np.argsort([-n for n in rows["length"]], kind="stable")
        if "length" in rows.column_names
        else np.arange(len(rows))
    )
    found: dict[int, Tensor] = {}
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(order), batch_size):
            chosen = [int(i) for i in order[start : start + batch_size]]
            batch = collator([rows[i] for i in chosen])
            logits = model(**inputs_of(model, batch))["logits"]
            found.update(zip(chosen, logits.float().cpu(), strict=True))
    return torch.stack([found[i] for i in range(len(order))]).numpy()
