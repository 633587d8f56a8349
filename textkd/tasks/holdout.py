"""An eval split held out of the train rows."""

from __future__ import annotations

from collections import Counter

from sklearn.model_selection import train_test_split

from textkd.errors import fail
from textkd.tasks.rows import Rows


def hold_out(rows: Rows, fraction: float, seed: int, *, stratify: bool) -> tuple[Rows, Rows]:
    """(train, eval): a shuffled `fraction` of the rows becomes eval, the same rows for the same seed.

    With `stratify` both parts keep the shares of the classes; where a class or a part is too small for that, the split
    is drawn without it and a note says so. Raises `TextkdError` where a part would be empty.
    """
    count = len(rows.label)
    if not 0 < round(count * fraction) < count:
        raise fail(
            f"eval: {{fraction: {fraction}}} of {count} rows", "one part would be empty", fix="give an eval file"
        )
    options = {"test_size": fraction, "random_state": seed}
    possible = stratify and min(Counter(rows.label).values()) > 1
    try:
        train, held = train_test_split(range(count), stratify=rows.label if possible else None, **options)
    except ValueError:  # fewer rows in a part than classes
        possible = False
        train, held = train_test_split(range(count), **options)
    parts = rows.take(train), rows.take(held)
    if stratify and not possible:
        parts[1].notes.append(f"eval: too few rows to keep the shares of the classes in {fraction} of {count} rows")
    return parts
