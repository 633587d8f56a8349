"""Entity metrics: the values that seqeval 1.2.2 gives in its default mode."""

from __future__ import annotations

import random
from importlib.util import find_spec

import pytest

from textkd.models.tagged_words import spans
from textkd.tasks import metrics

# (references, predictions, precision, recall, f1, accuracy), recorded from seqeval 1.2.2
RECORDED = [
    (["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"],
     ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"], 0.5, 0.5, 0.5, 0.8),
    (["B-x I-x O B-y"], ["I-x I-x O I-y"], 1.0, 1.0, 1.0, 0.5),
    (["B-x B-x I-x O"], ["B-x I-x I-x O"], 0.0, 0.0, 0.0, 0.75),
    (["B-x I-y O", "O B-y"], ["B-x I-x O", "B-y B-y"], 0.333333333333, 0.333333333333, 0.333333333333, 0.6),
    (["O O"], ["O O"], 0.0, 0.0, 0.0, 1.0),
    (["O O"], ["B-x O"], 0.0, 0.0, 0.0, 0.5),
    (["B-x I-x I-x"], ["O O O"], 0.0, 0.0, 0.0, 0.0),
    (["B-x", "I-x"], ["B-x", "B-x"], 1.0, 1.0, 1.0, 0.5),
    (["B-x I-x O B-y I-y O B-x"], ["B-x I-x I-x B-y I-x O B-x"], 0.25, 0.333333333333, 0.285714285714, 0.714285714286),
]  # fmt: skip
ALL = ["O", "B-x", "I-x", "B-y", "I-y"]


@pytest.mark.parametrize("case", RECORDED)
def test_recorded_values(case: tuple) -> None:
    references, predictions, *due = case
    split = [[sentence.split() for sentence in part] for part in (predictions, references)]
    found = metrics.load("entities").compute(predictions=split[0], references=split[1])
    assert [found[name] for name in ("precision", "recall", "f1", "accuracy")] == pytest.approx(due, abs=1e-12)


def test_spans() -> None:
    found = spans(["B-x", "I-x", "O", "I-y", "I-y", "B-y", "I-x"])
    assert found == [("x", 0, 1), ("y", 3, 4), ("y", 5, 5), ("x", 6, 6)]
    assert spans(["S-x", "B-x", "E-x", "I-x"]) == [("x", 0, 0), ("x", 1, 2), ("x", 3, 3)]
    assert spans([]) == []


@pytest.mark.long
@pytest.mark.skipif(find_spec("seqeval") is None, reason='pip install -e ".[test]"')
def test_seqeval_itself() -> None:
    from seqeval.metrics.sequence_labeling import accuracy_score, get_entities, precision_recall_fscore_support

    rng, module = random.Random(7), metrics.load("entities")
    for _ in range(60):
        true = [[rng.choice(ALL) for _ in range(rng.randint(1, 9))] for _ in range(rng.randint(1, 6))]
        said = [[rng.choice([tag, tag, *ALL]) for tag in tags] for tags in true]
        wide = [rng.choice([*ALL, "E-x", "S-x", "E-y", "B-a-b", "I-a-b"]) for _ in range(9)]
        assert spans(wide) == get_entities(wide)
        found = module.compute(predictions=said, references=true)
        due = precision_recall_fscore_support(true, said, average="micro", zero_division=0)[:3]
        assert [found["precision"], found["recall"], found["f1"]] == pytest.approx(due)
        assert found["accuracy"] == pytest.approx(accuracy_score(true, said))
