"""Two parts of shuffled rows: the same ones, in the same order, as scikit-learn's `train_test_split` draws. Written
here because importing that costs a quarter of what importing transformers' Trainer does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]


def two_parts(count: int, held: int, seed: int, labels: Sequence[Any] | None = None) -> tuple[list[int], list[int]]:
    """(train, held): places of `count` rows, `held` of them in the second part.

    Args:
        labels: of the rows; both parts keep the shares of these classes.

    Raises:
        ValueError: a part has fewer rows than there are classes, or no row at all.

    Source: scikit-learn's ShuffleSplit and StratifiedShuffleSplit (split number 0).
    """
    if not 0 < held < count:
        raise ValueError(f"{held} of {count} rows: a part would be empty")
    random = np.random.RandomState(seed)
    if labels is None:
        order = random.permutation(count)
        return order[held:].tolist(), order[:held].tolist()
    names, classes = np.unique(np.asarray(labels), return_inverse=True)
    if min(held, count - held) < len(names):
        raise ValueError(f"a part has fewer rows than the {len(names)} classes")
    counts = np.bincount(classes)
    train = _shares(counts, count - held, random)
    rest = _shares(counts - train, held, random)
    parts: tuple[list[int], list[int]] = ([], [])
    for number, size in enumerate(counts):
        own = np.flatnonzero(classes == number)[random.permutation(size)]
        parts[0].extend(own[: train[number]].tolist())
        parts[1].extend(own[train[number] : train[number] + rest[number]].tolist())
    one, other = (random.permutation(part).tolist() for part in parts)
    return one, other


def _shares(counts: Ints, wanted: int, random: np.random.RandomState) -> Ints:
    """How many of `wanted` draws fall on each class. What is left after rounding down goes to the largest remainders,
    among equal ones by lot."""
    exact = counts / counts.sum() * wanted
    shares: Ints = np.floor(exact).astype(np.int64)
    left, remainders = wanted - int(shares.sum()), exact - np.floor(exact)
    for value in np.unique(remainders)[::-1]:
        if left <= 0:
            break
        equal = np.flatnonzero(remainders == value)
        more = min(len(equal), left)
        shares[random.choice(equal, size=more, replace=False)] += 1
        left -= more
    return shares
