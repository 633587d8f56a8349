"""Outputs: what is doubtful about answers, and whether a model gives such at all."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from textkd.tasks import Output
from textkd.tasks.outputs import Classes, Scores, Tokens


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


class Says(torch.nn.Linear):
    """A model that says what it is given."""

    def __init__(self, said: Any) -> None:
        super().__init__(1, 1)
        self.said = said

    def forward(self, input_ids: torch.Tensor) -> Any:
        if isinstance(self.said, str):
            raise ValueError(self.said)
        return {"logits": torch.zeros(self.said)}


class Whole(Output):
    """An output that says no more than it must."""

    name, metric_names = "whole", ("right",)
    auto_class = predict = references = compute_metrics = None  # type: ignore[assignment]


TWO = ["a", "b"]
TRIED: list[tuple[Output, Any, str]] = [
    (Classes(TWO), (3, 2), ""), (Classes(TWO), (3, 4, 2), r"\[3, 4, 2\]"), (Classes(["a"]), (3, 2), r"\[3, 2\]"),
    (Scores(), (3, 1), ""), (Scores(), (3,), ""),
    (Scores(), (3, 2), r"\[3, 2\]"), (Scores(), (3, 4, 1), r"\[3, 4, 1\]"),
    (Tokens(TWO), (3, 4, 2), ""), (Tokens(TWO), (3, 2), r"\[3, 2\]"),
    (Whole(), (7, 7), ""), (Whole(), "of no kind", "it fails on the first rows: ValueError: of no kind"),
]  # fmt: skip


@pytest.mark.parametrize(("output", "said", "due"), TRIED)
def test_what_a_model_answers_is_tried_before_training(output: Output, said: Any, due: str) -> None:
    told = " ".join(map(str, output.tried(Says(said), {"input_ids": torch.zeros(3, 4)})))
    assert bool(told) == bool(due)
    assert re.search(due, told)
