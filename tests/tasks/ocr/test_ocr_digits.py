"""Lines of handwritten digits: honest splits, true texts, the same for the same seed."""

import pickle

import numpy as np
import pytest
from line_files import same

from textkd.errors import TextkdError
from textkd.tasks.ocr.digits import DigitLines, _data, _pool


def test_the_splits_share_no_scan_and_hold_every_digit():
    (train, labels), (held_out, _) = _pool("train"), _pool("eval")
    assert not set(train) & set(held_out)
    assert sorted([*train, *held_out]) == list(range(1797))
    assert np.bincount(labels[held_out]).min() >= 34
    images = _data().images.reshape(len(labels), -1)
    assert not {row.tobytes() for row in images[train]} & {row.tobytes() for row in images[held_out]}


def test_lines():
    lines = DigitLines(n=60, digits=(1, 8))
    assert len(lines) == len(lines.texts) == 60
    assert {len(text) for text in lines.texts} == set(range(1, 9))
    assert all(text.isdigit() for text in lines.texts)
    assert {lines.image(i).size[1] for i in range(9)} == {32}
    widths = {len(text): lines.image(i).width for i, text in enumerate(lines.texts)}
    assert widths[8] > widths[4] > widths[1]
    image = np.asarray(lines.image(0))
    assert np.median(image[0]) > 200 > 130 > image.min()  # dark on white


def test_the_text_names_the_scans():
    lines = DigitLines(n=30, split="eval", seed=4)
    pool, labels = _pool("eval")
    for index in range(30):
        scans = lines._scans(lines._rng(index))
        assert set(scans) <= set(pool)
        assert "".join(str(labels[scan]) for scan in scans) == lines.texts[index]


def test_the_same_for_the_same_seed_whatever_n_is():
    one, other = DigitLines(n=5, seed=1), DigitLines(n=50, seed=1)
    assert one.texts == other.texts[:5]
    assert all(same(one.image(i), other.image(i)) for i in range(5))
    assert same(pickle.loads(pickle.dumps(one)).image(3), one.image(3))
    assert DigitLines(n=5, seed=2).texts != one.texts
    assert DigitLines(n=5, split="eval", seed=1).texts != one.texts
    digests = {
        DigitLines(n=5, seed=1, **more).digest() for more in ({}, {"height": 40}, {"split": "eval"}, {"strength": 1})
    }
    assert len(digests) == 4
    assert one.digest() == DigitLines(n=5, seed=1).digest()


def test_height_and_strength():
    assert DigitLines(n=3, height=48).image(0).height == 48
    assert not same(DigitLines(n=3, strength=1).image(1), DigitLines(n=3).image(1))


def test_lines_that_are_not_there():
    for index in (-1, 5):
        with pytest.raises(IndexError):
            DigitLines(n=5).image(index)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "n: asked: n: a whole number from 1 to 100000000\n  found: 0"),
        ({"n": 2.5}, "found: 2.5"),
        ({"n": None}, "found: None"),
        ({"n": True}, "found: True"),
        ({"n": 2, "split": "test"}, "split 'test'\n  found: the splits are train, eval"),
        ({"n": 2, "seed": -1}, "seed: a whole number from 0"),
        ({"n": 2, "digits": [3, 1]}, "digits: [least, most], whole numbers from 1\n  found: [3, 1]"),
        ({"n": 2, "digits": 4}, "found: 4"),
        ({"n": 2, "height": 4}, "height: a whole number from 8"),
        ({"n": 2, "strength": -1}, "strength: a number from 0 (off) to 3"),
        ({"n": 0, "split": "x", "seed": "a"}, "3 problems"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(TextkdError) as caught:
        DigitLines(**options)
    assert words in str(caught.value)
