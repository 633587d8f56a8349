"""`LabelSets`: any number of labels for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from textkd.tasks.outputs.by_row import Array, ByRow
from textkd.tasks.outputs.few_rows import none_found


class LabelSets(ByRow):
    """Any number of labels for each row: logits [N, C], labels [N, C] of 0 and 1.

    Args:
        names: of the labels in the order of their ids; or a function that gives them, where they are only known once
            the data is read.
        name: of the task, for messages.
        metric: (module, config_name) of `textkd.tasks.metrics`; None: that of multi-label classification.
        metric_names: those of its values that count, the main one first; None: f1_micro, f1_macro, subset_accuracy.

    Example:
        >>> LabelSets(["sport", "politics"]).decide([[2.0, -1.0], [0.5, 0.1]]).tolist()
        [[1, 0], [1, 1]]
    """

    problem_type = "multi_label_classification"
    label_loss = "bce"
    kind = "multi_label"
    usual = ("f1_micro", "f1_macro", "subset_accuracy")

    def answers(self, logits: Array) -> Array:
        """0/1 [N, C]: 1 where the sigmoid is above one half."""
        return (logits > 0).astype(np.int64)

    def poor(self, predictions: Any, references: Any, every: Any) -> str:
        """Hardly a row in which one of its labels is found."""
        truth = np.asarray(references) > 0
        rows, found = int(truth.any(1).sum()), int((truth & (self.decide(predictions) > 0)).any(1).sum())
        return f"one label or more found in {found} of {rows}" if none_found(found, rows) else ""

    def word(self, answer: Any) -> list[str]:
        return [name for name, on in zip(self.names, answer, strict=True) if on]

    def certainty(self, logits: Array) -> Array:
        """Of the least sure of the labels."""
        return torch.sigmoid(torch.as_tensor(logits).abs()).amin(-1).numpy()
