"""What outputs count and show of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def agreement(reference: Any, student: Any) -> dict[str, int]:
    """How many rows both have right, one of them, neither. Both are bool [N], whether each row is right."""
    one, other = np.asarray(reference), np.asarray(student)
    return {
        "both_right": int((one & other).sum()), "only_reference": int((one & ~other).sum()),
        "only_student": int((~one & other).sum()), "both_wrong": int((~one & ~other).sum()),
    }  # fmt: skip


def counted(differing: int, rows: int, what: str) -> str:
    """ "3 of 8 rows: what"; "" where none differs."""
    return f"{differing} of {rows} rows{what and f': {what}'}" if differing else ""


def texts_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The texts of a shown row."""
    return {key: row[key] for key in ("text_a", "text_b") if row.get(key) is not None}


def rows_lost(labels: Sequence[Any], right: int) -> str:
    """Rows that were answered right and are not any more, by label.

    Args:
        labels: of these rows.
        right: how many were right before.

    Example:
        >>> rows_lost(["sad", "sad", "glad"], 40)
        '3 of 40 right answers are lost: sad 2, glad 1'
    """
    if not labels:
        return ""
    counts = Counter(str(label) for label in labels).most_common(5)
    return f"{len(labels)} of {right} right answers are lost: {', '.join(f'{name} {n}' for name, n in counts)}"
