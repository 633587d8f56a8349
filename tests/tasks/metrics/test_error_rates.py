"""cer, wer and exact against a Levenshtein distance written here, and against edits counted by hand."""

import random

import pytest

from textkd.errors import TextkdError
from textkd.tasks import metrics


def distance(left, right):
    """Levenshtein's distance of two sequences by the full table."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(row[-1] + 1, above[j] + 1, above[j - 1] + (a != b)))
    return row[-1]


def cer(predictions, references):
    return metrics.load("cer").compute(predictions=predictions, references=references)


def wer(predictions, references):
    return metrics.load("wer").compute(predictions=predictions, references=references)["wer"]


def garbled(rng, alphabet, longest):
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(longest)))


@pytest.mark.parametrize("seed", range(5))
def test_against_a_levenshtein_of_our_own(seed):
    rng = random.Random(seed)
    references = [garbled(rng, "ab c\u00e9\u0301\U0001f600", 14) for _ in range(40)] + ["x"]
    predictions = [garbled(rng, "ab c\u00e9\u0301\U0001f600", 14) for _ in range(40)] + [""]
    edits = sum(distance(a, b) for a, b in zip(predictions, references, strict=True))
    found = cer(predictions, references)
    assert found["cer"] == pytest.approx(edits / sum(map(len, references)), abs=1e-12)
    assert found["exact"] == sum(map(str.__eq__, predictions, references)) / 41
    words = [(a.split(), b.split()) for a, b in zip(predictions, references, strict=True)]
    assert wer(predictions, references) == pytest.approx(
        sum(distance(a, b) for a, b in words) / sum(len(b) for _, b in words), abs=1e-12
    )


def test_the_rate_is_of_the_corpus_not_a_mean_of_lines():
    assert cer(["a", "x" * 9], ["b", "x" * 9]) == {"cer": 1 / 10, "exact": 0.5}  # a mean of lines would give 0.5


@pytest.mark.parametrize(
    ("prediction", "reference", "edits"),
    [
        ("Word", "word", 1),
        ("a b", "a  b", 1),
        ("a b", " a b ", 2),
        ("ab", "a b", 1),
        ("a\tb", "a b", 1),
        ("e\u0301", "\u00e9", 2),
        ("\u2014", "-", 1),
        ("abcdef", "a", 5),
        ("", "abc", 3),
    ],
)
def test_case_white_space_and_code_points_count(prediction, reference, edits):
    assert cer([prediction], [reference]) == {"cer": edits / len(reference), "exact": 0.0}


@pytest.mark.parametrize(
    ("prediction", "reference", "edits", "words"),
    [
        ("the Cat sat", "the cat sat", 1, 3),
        ("the catsat", "the cat sat", 2, 3),
        (" the  cat\tsat\u00a0", "the cat sat", 0, 3),
        ("the cat, sat", "the cat sat", 1, 3),
        ("", "the cat", 2, 2),
    ],
)
def test_words_by_hand(prediction, reference, edits, words):
    assert wer([prediction], [reference]) == pytest.approx(edits / words)


def test_an_empty_reference_counts_its_insertions():
    assert cer(["ab", "xyz"], ["", "xyz"]) == {"cer": 2 / 3, "exact": 0.5}
    assert cer(["", "xyz"], ["", "xyz"]) == {"cer": 0.0, "exact": 1.0}
    assert cer(["ab", ""], ["", ""]) == {"cer": 2.0, "exact": 0.5}
    assert cer(["", ""], ["", ""]) == {"cer": 0.0, "exact": 1.0}
    assert wer(["one two", "x"], [" ", "x"]) == 2.0
    assert wer(["", " "], ["", ""]) == 0.0


@pytest.mark.parametrize("name", ["cer", "wer"])
def test_a_config_that_is_not_there(name):
    with pytest.raises(TextkdError, match="default"):
        metrics.load(name, "words")
