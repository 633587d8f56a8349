"""What can be said of a model that has answered a few rows only: nothing by which a good one is accused by chance."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

RARE = 1e-3  # how often a model as good as is asked may be told to be worse
LEAST = 0.2  # share of rows in which a teacher that is one finds at least something


def drawn(sizes: Sequence[int], count: int) -> list[int]:
    """Places of some short rows, the same ones every time.

    Args:
        sizes: of all rows.
        count: how many.

    Returns:
        The shortest of four times as many that are drawn, the shortest first.

    Example:
        >>> drawn([30, 10, 20], 2)
        [1, 2]
    """
    some = random.Random(0).sample(range(len(sizes)), min(len(sizes), 4 * count))
    return sorted(some, key=lambda place: sizes[place])[:count]


def is_rare(right: int, rows: int, share: float) -> bool:
    """Whether a model that is right in this share of all rows would hardly ever be right in so few of some.

    Args:
        right: rows in which it was right.
        rows: that were looked at.
        share: of all rows, in [0, 1].

    Returns:
        Whether so few or fewer happen less than once in 1,000 times, by the binomial distribution.

    Example:
        >>> is_rare(7, 32, 0.5), is_rare(8, 32, 0.5)
        (False, False)
        >>> is_rare(6, 32, 0.5), is_rare(0, 8, 0.5)
        (True, False)
    """
    chances = (math.comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(right + 1))
    return sum(chances) < RARE


def none_found(right: int, rows: int) -> bool:
    """Whether a model that finds something in one row of five would hardly ever find so little.

    Example:
        >>> none_found(0, 32), none_found(1, 32), none_found(0, 20)
        (True, False, False)
    """
    return is_rare(right, rows, LEAST)
