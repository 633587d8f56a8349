"""`Classes`: what is doubtful about answers."""

from __future__ import annotations

import numpy as np

from textkd.tasks.outputs import Classes


def logits(*answers: int) -> np.ndarray:
    return np.eye(2, dtype=np.float32)[list(answers)]


def test_answers_that_are_no_better_than_one_for_all() -> None:
    (told,) = Classes(["bad", "good"]).doubts(logits(0, 1, 0, 1), [1, 0, 1, 1])
    assert told == "accuracy 0.250 is no better than that of always 'good': 0.750"
    assert Classes(["bad", "good"]).doubts(logits(1, 0, 1, 1), [1, 0, 1, 1]) == []


def test_one_thing_is_told_once() -> None:
    (told,) = Classes(["bad", "good"]).doubts(logits(1, 1, 1), [1, 0, 1])
    assert told == "all 3 predictions were 1"
    assert Classes(["bad", "good"]).doubts(logits(0, 1), [1, 1]) == []  # all rows are of one class
