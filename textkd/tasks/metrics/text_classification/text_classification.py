"""Metrics of a text task of one's own as an `evaluate` module; config_name is the type of the task.

classification (default): accuracy, f1_macro over the classes that occur. regression: pearson, spearmanr, mse.
multi_label: f1_micro, f1_macro, subset_accuracy (the share of rows whose whole label set is right).
`evaluate` copies this file and imports the copy, so it imports libraries only.
"""

from __future__ import annotations

import logging
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error

logger = logging.getLogger("textkd.tasks.metrics")

METRICS = {
    "classification": ("accuracy", "f1_macro"),
    "regression": ("pearson", "spearmanr", "mse"),
    "multi_label": ("f1_micro", "f1_macro", "subset_accuracy"),
}


def _correlation(function: Any, references: Any, predictions: Any, name: str) -> float:
    """A correlation; 0.0 where it is undefined (fewer than two rows, or one side constant), with a note in the log."""
    if len(references) < 2 or np.ptp(predictions) == 0 or np.ptp(references) == 0:
        logger.warning("%s is undefined (constant values or fewer than two rows) and counted as 0.0", name)
        return 0.0
    return float(function(references, predictions)[0])


class TextClassification(evaluate.Metric):  # type: ignore[misc]
    """`compute(predictions, references)`: [N] class ids, [N] scores, or [N, labels] of 0/1, by config_name."""

    def _info(self) -> evaluate.MetricInfo:
        self.config_name: str = "classification" if self.config_name == "default" else self.config_name
        if self.config_name not in METRICS:
            raise KeyError(f"config_name must be one of {', '.join(METRICS)}; found {self.config_name!r}")
        feature = datasets.Value("float64" if self.config_name == "regression" else "int64")
        if self.config_name == "multi_label":
            feature = datasets.List(feature)
        return evaluate.MetricInfo(
            description="Metrics of text classification, regression and multi-label classification.",
            citation="scikit-learn and SciPy",
            inputs_description="predictions and references: [N] class ids, [N] scores, or [N, labels] of 0/1",
            features=datasets.Features({"predictions": feature, "references": feature}),
            format=None if self.config_name == "multi_label" else "numpy",  # evaluate has no numpy format for lists
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        if self.config_name == "regression":
            return {
                "pearson": _correlation(pearsonr, references, predictions, "pearson"),
                "spearmanr": _correlation(spearmanr, references, predictions, "spearmanr"),
                "mse": float(mean_squared_error(references, predictions)),
            }
        values = {"accuracy": float(accuracy_score(references, predictions))}  # of whole rows, if they are label sets
        for average in ("micro", "macro"):
            score = f1_score(references, predictions, average=average, zero_division=0.0)
            values[f"f1_{average}"] = float(score)
        values["subset_accuracy"] = values["accuracy"]
        return {name: values[name] for name in METRICS[self.config_name]}
