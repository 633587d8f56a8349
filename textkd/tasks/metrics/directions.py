"""Which metrics fall as a model gets better. Of a task's main metric the task says it itself."""

from __future__ import annotations

ERRORS = frozenset({"cer", "wer", "mse", "rmse", "mae", "loss", "perplexity"})


def falls(metric: str) -> bool:
    """Whether less of it is better; also of a further evaluation's, as receipts_cer."""
    return metric.rpartition("_")[2] in ERRORS
