"""The metrics of the GLUE benchmark as an `evaluate` module; config_name is the subset.

Definitions: Wang et al. 2019, "GLUE" (arXiv 1804.07461), table 1. `evaluate` copies this file and imports the copy,
so it imports libraries only.
"""

from __future__ import annotations

import logging
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

logger = logging.getLogger("textkd.tasks.metrics")

METRICS = {
    "cola": ("matthews_correlation",),
    "sst2": ("accuracy",),
    "mrpc": ("accuracy", "f1"),
    "stsb": ("pearson", "spearmanr"),
    "qqp": ("accuracy", "f1"),
    "mnli": ("accuracy",),
    "mnli_matched": ("accuracy",),
    "mnli_mismatched": ("accuracy",),
    "qnli": ("accuracy",),
    "rte": ("accuracy",),
    "wnli": ("accuracy",),
    "snli": ("accuracy",),
}


def _correlation(function: Any, references: Any, predictions: Any, name: str) -> float:
    """A correlation; 0.0 where it is undefined (fewer than two rows, or one side constant), with a note in the log."""
    if len(references) < 2 or np.ptp(predictions) == 0 or np.ptp(references) == 0:
        logger.warning("%s is undefined (constant values or fewer than two rows) and counted as 0.0", name)
        return 0.0
    return float(function(references, predictions)[0])


def _value(name: str, references: Any, predictions: Any) -> float:
    if name == "accuracy":
        return float(accuracy_score(references, predictions))
    if name == "f1":  # of the positive class, as the benchmark defines it for MRPC and QQP
        return float(f1_score(references, predictions, zero_division=0.0))
    if name == "matthews_correlation":
        if np.ptp(predictions) == 0 or np.ptp(references) == 0:
            logger.warning("matthews_correlation is undefined (one class only) and counted as 0.0")
            return 0.0
        return float(matthews_corrcoef(references, predictions))
    return _correlation(pearsonr if name == "pearson" else spearmanr, references, predictions, name)


class Glue(evaluate.Metric):  # type: ignore[misc]
    """GLUE metrics of one subset. `compute(predictions=[N], references=[N])`: class ids, or scores for stsb."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in METRICS:
            raise KeyError(f"config_name must be one of {', '.join(METRICS)}; found {self.config_name!r}")
        kind = "float64" if self.config_name == "stsb" else "int64"
        return evaluate.MetricInfo(
            description="The metrics of the GLUE benchmark.",
            citation="Wang et al. 2019, GLUE: A Multi-Task Benchmark and Analysis Platform, arXiv 1804.07461",
            inputs_description="predictions and references: [N] class ids; stsb: [N] scores",
            features=datasets.Features({"predictions": datasets.Value(kind), "references": datasets.Value(kind)}),
            format="numpy",
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {name: _value(name, references, predictions) for name in METRICS[self.config_name]}
