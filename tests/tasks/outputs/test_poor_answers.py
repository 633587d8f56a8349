"""What a few rows tell of a teacher: the worst is told, a good one is hardly ever accused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from textkd.tasks.outputs import Classes, LabelSets, Scores, Tokens
from textkd.tasks.outputs.few_rows import RARE, drawn, is_rare

ROWS = 64
random = np.random.RandomState(0)


def told(right: int, shares: tuple[float, ...]) -> str:
    """What `Classes` says of a model that is right in so many rows of classes with these shares."""
    ids = np.repeat(np.arange(len(shares)), [round(share * 1000) for share in shares])
    truth = ids[np.linspace(0, len(ids) - 1, ROWS).astype(int)]
    said = np.where(np.arange(ROWS) < right, truth, (truth + 1) % len(shares))
    return Classes([f"c{i}" for i in range(len(shares))]).poor(np.eye(len(shares))[said], truth, ids)


@pytest.mark.parametrize(
    ("shares", "bad", "good"),
    [((0.5, 0.5), 19, 20), ((0.1, 0.9), 47, 50), ((0.3, 0.3, 0.4), 13, 15), ((0.01,) * 100, 3, 4)],
)
def test_classes_below_one_answer_for_all(shares: tuple[float, ...], bad: int, good: int) -> None:
    assert told(bad, shares).startswith(f"right in {bad} of {ROWS}")
    assert told(good, shares) == ""


def test_a_teacher_as_good_as_one_answer_is_hardly_ever_accused() -> None:
    for share in np.linspace(0.05, 0.95, 19):
        worst = max((right for right in range(ROWS + 1) if is_rare(right, ROWS, share)), default=-1)
        accused = sum(math.comb(ROWS, k) * share**k * (1 - share) ** (ROWS - k) for k in range(worst + 1))
        assert accused < RARE
    assert told(0, (1.0, 0.0))  # rows of one class alone
    assert not is_rare(0, 0, 1.0)


def flags(seed: int) -> Any:
    return (np.random.RandomState(seed).rand(ROWS, 6) < 0.3).astype(np.float32)


TAGS = ["O", "B-x", "I-x", "B-y", "I-y"]
SENTENCES = [[0, 1, 2, 0], [3, 0], [0, 3, 4, 4]] * 20
NUMBERS = np.linspace(0, 5, ROWS)


def tagged(ids: dict[int, int]) -> list[Any]:
    return [np.eye(5)[[ids.get(tag, tag) for tag in row]] for row in SENTENCES]


@pytest.mark.parametrize(
    ("output", "bad", "good", "truth", "what"),
    [
        (LabelSets(list("abcdef")), -flags(0) - 1, flags(0) - 0.5, flags(0), "one label or more found in 0 of"),
        (Tokens(TAGS), tagged({1: 3, 3: 1, 2: 4, 4: 2}), tagged({2: 0, 4: 0}), SENTENCES, "tagged right in 0 of 60"),
        (Scores(), 5 - NUMBERS[:, None], NUMBERS[:, None] * 0.1, NUMBERS, "(pearson -1.00)"),
        (Scores(), -NUMBERS[::9, None], NUMBERS[::-1][:3, None], NUMBERS[::9], "in 8 (pearson -1.00)"),
    ],
)  # fmt: skip
def test_other_answers(output: Any, bad: Any, good: Any, truth: Any, what: str) -> None:
    assert what in output.poor(bad, truth, truth)
    assert output.poor(good, truth[: len(good)], truth) == ""


def test_the_same_short_rows_are_drawn_every_time() -> None:
    sizes = list(random.randint(1, 1000, 5000))
    places = drawn(sizes, ROWS)
    assert places == drawn(sizes, ROWS)
    assert len(set(places)) == ROWS
    assert np.mean([sizes[i] for i in places]) < 200
    assert sorted(drawn([5, 4], ROWS)) == [0, 1]
