"""`Scores`: a number for each row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textkd.tasks.output import EXAMPLES, Examples
from textkd.tasks.outputs.by_row import Array, ByRow
from textkd.tasks.outputs.counts import texts_of

FALLS = -3.09  # Fisher's z of a correlation that is 0 lies below once in 1,000 times


class Scores(ByRow):
    """A number for each row (regression): logits [N, 1], labels [N].

    Args:
        name: of the task, for messages.
        metric: (module, config_name) of `textkd.tasks.metrics`; None: that of text regression.
        metric_names: those of its values that count, the main one first; None: pearson, spearmanr, mse.

    Example:
        >>> Scores().decide([[0.5], [4.0]]).tolist()
        [0.5, 4.0]
    """

    problem_type = "regression"
    label_loss = "mse"
    kind = "regression"
    usual = ("pearson", "spearmanr", "mse")
    number = np.float64

    def __init__(
        self, name: str = "task", metric: tuple[str, str] | None = None, metric_names: Sequence[str] | None = None
    ) -> None:
        super().__init__(["score"], name, metric, metric_names)

    @property
    def labels(self) -> None:
        return None

    def answers(self, logits: Array) -> Array:
        """Scores [N]."""
        return logits.reshape(len(logits)).astype(np.float64)

    def poor(self, predictions: Any, references: Any, every: Any) -> str:
        """Scores that fall where the labels rise."""
        scores, truth = self.decide(predictions), np.asarray(references, dtype=np.float64)
        if len(truth) < 8 or not scores.std() or not truth.std():
            return ""
        pearson = float(np.corrcoef(scores, truth)[0, 1])
        is_below = math.atanh(max(pearson, -0.999)) * math.sqrt(len(truth) - 3) < FALLS
        return f"scores that fall where the labels rise in {len(truth)} (pearson {pearson:.2f})" if is_below else ""

    def word(self, answer: Any) -> float:
        return float(answer)

    def certainty(self, logits: Array) -> Array:
        raise NotImplementedError("a score has no probability")

    def examples(self, shown: Any, rows: Any, said: Mapping[str, Any], between: tuple[str, str]) -> Examples:
        """The rows whose scores by two models lie furthest apart; nobody is right or wrong."""
        truth, scores = self.references(rows), {model: self.decide(values) for model, values in said.items()}
        one, other = between
        furthest = np.argsort(-np.abs(scores[one] - scores[other]), kind="stable")[:EXAMPLES]
        examples = [
            {**texts_of(shown[int(i)]), "label": float(truth[i]),
             "said": {model: float(values[i]) for model, values in scores.items()}}
            for i in furthest
        ]  # fmt: skip
        return Examples({"counts": None, "examples": examples})
