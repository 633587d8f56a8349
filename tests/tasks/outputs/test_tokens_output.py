"""`Tokens`: what is counted, how tags are judged and shown."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from textkd.errors import TextkdError
from textkd.tasks.outputs import Tokens

NAMES = ["O", "B-x", "I-x", "B-y", "I-y"]
OUTPUT = Tokens(NAMES, "names")


def logits(*rows: list[int], sure: float = 4.0) -> list[np.ndarray]:
    return [np.eye(len(NAMES), dtype=np.float32)[row] * sure for row in rows]


def test_head() -> None:
    head = OUTPUT.head()
    assert (head["num_labels"], head["id2label"][2], head["label2id"]["B-y"]) == (5, "I-x", 3)
    assert "problem_type" not in head
    assert (OUTPUT.main_metric, OUTPUT.per_token, OUTPUT.writes) == ("f1", True, False)


def test_positions_without_a_label_do_not_count() -> None:
    said = logits([1, 2, 0], [3])
    assert OUTPUT.compute_metrics(said, [[1, 2, 0], [3]]) == {"f1": 1, "precision": 1, "recall": 1, "accuracy": 1}
    # as Trainer collects them: padded, special tokens and further pieces among them
    padded, labels = np.full((2, 5, 5), -100.0), np.full((2, 5), -100)
    padded[0, 1:4], padded[1, 2:3] = said
    labels[0, 1:4], labels[1, 2] = [1, 2, 0], 3
    padded[1, 0] = [0, 9, 0, 0, 0]  # what a special token answers
    assert OUTPUT.compute_metrics(padded, labels) == OUTPUT.compute_metrics(said, [[1, 2, 0], [3]])
    half = OUTPUT.compute_metrics(logits([1, 0, 0], [3]), [[1, 2, 0], [3]])
    assert half == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 0.75}


def test_what_cannot_be_judged() -> None:
    for said, labels, due in (([], [], "0 predictions"), (logits([1]), [[1], [1]], "1 predictions, 2 labels"),
                              ([logits([1])[0] * np.nan], [[1]], "NaN in 1 of 1 rows")):  # fmt: skip
        with pytest.raises(TextkdError, match=due):
            OUTPUT.compute_metrics(said, labels)


def test_doubts() -> None:
    assert OUTPUT.doubts(logits([1, 0]), [[1, 0]]) == []
    (none_said,) = OUTPUT.doubts(logits([0, 0]), [[1, 0]])
    (none_there,) = OUTPUT.doubts(logits([1, 0]), [[0, 0]])
    assert ("no entity was found" in none_said, "there is no entity" in none_there) == (True, True)


def test_examples_show_the_entities_that_each_model_found() -> None:
    words = [["the", "​", "Empire", "State"], ["Bob"], ["so"]]
    shown = Dataset.from_dict({"words": words})
    rows = Dataset.from_dict({"labels": [[-100, 0, 1, 2], [3], [0]], "places": [[0, 2, 3], [0], [0]]})
    teacher, student = logits([0, 1, 2], [3], [0]), logits([0, 1, 0], [1], [0], sure=1.0)
    said = {"teacher": teacher, "student": student}
    found = OUTPUT.examples(shown, rows, said, ("teacher", "student")).disagreements
    assert found["counts"] == {"both_right": 1, "only_reference": 2, "only_student": 0, "both_wrong": 0}
    assert [(e["text_a"], e["label"], e["said"]) for e in found["examples"]] == [
        ("the ​ Empire State", ["x: Empire State"], {"teacher": ["x: Empire State"], "student": ["x: Empire"]}),
        ("Bob", ["y: Bob"], {"teacher": ["y: Bob"], "student": ["x: Bob"]}),
    ]
    assert found["examples"][0]["sure"]["teacher"] == pytest.approx(np.exp(4) / (np.exp(4) + 4))
