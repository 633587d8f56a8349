"""The same rows as scikit-learn's `train_test_split`."""

from __future__ import annotations

from collections import Counter

import pytest
from sklearn.model_selection import train_test_split

from textkd.tasks.data.shuffled import two_parts

LABELS = {
    "two equal": [0, 1] * 40,
    "uneven": [0] * 50 + [1] * 7 + [2] * 3 + [1] * 11,
    "texts": ["b", "a", "a", "c", "b", "c", "c"] * 9,
    "many equal remainders": list(range(13)) * 5,
}


@pytest.mark.parametrize("labels", [*LABELS.values(), None], ids=[*LABELS, "without classes"])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_as_scikit_learn(labels: list[object] | None, seed: int) -> None:
    count, tried = 83 if labels is None else len(labels), 0
    for held in (1, 2, 13, 14, 20, count // 2, count - 13, count - 1):
        try:
            due = train_test_split(range(count), stratify=labels, random_state=seed, test_size=held)
        except ValueError:
            with pytest.raises(ValueError, match="fewer rows than"):
                two_parts(count, held, seed, labels)
            continue
        assert list(two_parts(count, held, seed, labels)) == due, held
        tried += 1
    assert tried >= 4


def test_every_row_once_and_shares_kept() -> None:
    labels = LABELS["uneven"]
    train, held = two_parts(len(labels), 20, 3, labels)
    assert sorted(train + held) == list(range(len(labels)))
    assert Counter(labels[i] for i in held) == {0: 14, 1: 5, 2: 1}


@pytest.mark.parametrize("held", [0, 5])
def test_no_empty_part(held: int) -> None:
    with pytest.raises(ValueError, match="empty"):
        two_parts(5, held, 0)
