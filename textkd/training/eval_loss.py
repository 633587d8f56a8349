"""The loss of an evaluation: a mean over its rows, or their tokens, however they are cut into batches and processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from textkd.models.conventions import IGNORED


class EvalLoss:
    """Adds up the mean losses of batches. Trainer weighs each by its rows; a mean over tokens would then depend on how
    rows are cut into batches, and rows that fill up the last batch of several processes would count twice.

    Args:
        accelerator: whose data loader is evaluated.
    """

    def __init__(self, accelerator: Any) -> None:
        self.accelerator = accelerator
        self._sums: list[Tensor] = []

    def add(self, loss: Tensor | None, inputs: dict[str, Any], anew: Callable[[dict[str, Any]], Tensor]) -> None:
        """Takes the loss of a batch in.

        Args:
            loss: the mean over the batch; None: it has no labels.
            inputs: the columns, [B, ...], with labels.
            anew: computes the loss of other rows; called for a batch that was filled up.
        """
        if loss is None:
            return
        own = self._own(len(inputs["labels"]))
        count = _count(inputs["labels"] if own is None else inputs["labels"][:own])
        if own is not None:  # on all processes: shards of a model want all of them at once
            loss = anew({name: column[: max(own, 1)] for name, column in inputs.items()})
        exact = torch.float32 if loss.device.type == "mps" else torch.float64
        total = torch.where(count > 0, loss.detach().to(exact) * count, 0)
        self._sums.append(torch.stack([total, count.to(exact)]))

    def put(self, metrics: dict[str, float], name: str) -> None:
        """Writes the mean over all rows, or tokens, of all processes over Trainer's own."""
        if name in metrics and self._sums:
            total, count = self.accelerator.reduce(torch.stack(self._sums).sum(0), "sum").tolist()
            metrics[name] = total / max(count, 1)

    def _own(self, rows: int) -> int | None:
        """How many of a batch's rows are no copies that fill it up; None: all are its own."""
        state = self.accelerator.gradient_state
        if self.accelerator.num_processes == 1 or not state.end_of_dataloader or state.remainder <= 0:
            return None
        before = int(self.accelerator.process_index) * rows
        return min(max(int(state.remainder) - before, 0), rows)


def _count(labels: Tensor) -> Tensor:
    """What a mean runs over: rows, or labelled tokens."""
    if labels.dim() < 2 or labels.is_floating_point():
        return torch.tensor(len(labels), device=labels.device)
    return (labels != IGNORED).sum()
