"""`Classes`: one class of several for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from textkd.tasks.outputs.by_row import Array, ByRow
from textkd.tasks.outputs.few_rows import is_rare, none_found


class Classes(ByRow):
    """One class for each row: logits [N, C], labels [N] of class ids.

    Args:
        names: of the classes in the order of their ids; or a function that gives them, where they are only known once
            the data is read.
        name: of the task, for messages.
        metric: (module, config_name) of `textkd.tasks.metrics`; None: that of text classification.
        metric_names: those of its values that count, the main one first; None: accuracy, f1_macro.

    Example:
        >>> answers = Classes(["no", "yes"])
        >>> answers.decide([[0.2, 1.5], [3.0, -1.0]]).tolist()
        [1, 0]
        >>> answers.head()["label2id"]
        {'no': 0, 'yes': 1}
    """

    problem_type = "single_label_classification"
    usual = ("accuracy", "f1_macro")

    def answers(self, logits: Array) -> Array:
        """Class ids [N]; what are ids already stay as they are."""
        return logits.argmax(axis=-1) if logits.ndim == 2 else logits.astype(np.int64)

    def doubts(self, predictions: Any, references: Any) -> list[str]:
        """As of `ByRow`; and answers that are no better than the same one for all rows."""
        found = super().doubts(predictions, references)
        decided, truth = self.decide(predictions), np.asarray(references)
        ids, counts = np.unique(truth, return_counts=True)
        right, always = float((decided == truth).mean()), float(counts.max() / len(truth))
        if len(ids) > 1 and right <= always and not (decided == decided[0]).all():
            said = f"accuracy {right:.3f} is no better than that of always {self.word(ids[counts.argmax()])!r}"
            found.append(f"{said}: {always:.3f}")
        return found

    def poor(self, predictions: Any, references: Any, every: Any) -> str:
        """Fewer right answers than one answer for all rows gives, or hardly any."""
        right, rows = int((self.decide(predictions) == np.asarray(references)).sum()), len(references)
        ids, counts = np.unique(every, return_counts=True)
        always, here = counts.max() / len(every), np.unique(references, return_counts=True)[1].max() / rows
        if is_rare(right, rows, min(always, here)):  # short rows may have other shares
            return f"right in {right} of {rows} (always {self.word(ids[counts.argmax()])!r}: in {always:.0%} of all)"
        return f"right in {right} of {rows}" if none_found(right, rows) else ""

    def word(self, answer: Any) -> str:
        return self.names[int(answer)]

    def certainty(self, logits: Array) -> Array:
        return torch.as_tensor(logits).softmax(-1).amax(-1).numpy()
