"""`Classes`: one class of several for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from textkd.tasks.outputs.by_row import Array, ByRow


class Classes(ByRow):
    """One class for each row: logits [N, C], labels [N] of class ids."""

    problem_type = "single_label_classification"
    usual = ("accuracy", "f1_macro")

    def answers(self, logits: Array) -> Array:
        """Class ids [N]; what are ids already stay as they are."""
        return logits.argmax(axis=-1) if logits.ndim == 2 else logits.astype(np.int64)

    def word(self, answer: Any) -> str:
        return self.names[int(answer)]

    def certainty(self, logits: Array) -> Array:
        return torch.as_tensor(logits).softmax(-1).amax(-1).numpy()
