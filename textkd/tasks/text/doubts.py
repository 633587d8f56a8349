"""What makes metrics doubtful."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

CORRELATIONS = ("pearson", "spearmanr", "matthews_correlation")


def doubts(metrics: Iterable[str], decided: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> list[str]:
    """One answer for all rows, a correlation that is none. decided, truth: decisions and labels, [N] or [N, C]."""
    found, rows = [], len(truth)
    names = " and ".join(name for name in metrics if name in CORRELATIONS)
    if rows > 1 and (decided == decided[0]).all():
        found.append(f"all {rows} predictions were {decided[0]}")
    if names and rows == 1:
        found.append(f"{names} of one row: undefined, counted as 0")
    elif names and (truth == truth[0]).all():
        found.append(f"all {rows} labels are {truth[0]}: {names} undefined, counted as 0")
    return found
