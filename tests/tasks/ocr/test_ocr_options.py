"""Wrong options of an OCR task: all told at once, before any data is read."""

import pytest

from textkd import tasks
from textkd.errors import TextkdError


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"eval": None}, "lines to evaluate on"),
        ({"eval": {"fraction": 2, "sed": 1}}, "nearest: seed"),
        ({"train": None, "eval": {"fraction": 0.1}}, "no train lines"),
        ({"tokenizer": "chars"}, "nearest: char"),
        ({"height": 4}, "height 4, width 1024"),
        ({"height": "32"}, "whole numbers"),
        ({"vocab_size": 50}, "one token for each character"),
        ({"characters": ["é"]}, "not a text"),
        ({"processor": "x", "width": 640}, "its own size"),
        ({"augment": "yes"}, "augment"),
        ({"augment": 7}, "0 to 3"),
        ({"seed": -1}, "seed"),
        ({"generation": {"beams": 2}}, "nearest: num_beams"),
        ({"extra_evals": {"a b": "x.parquet"}}, "no name for a split"),
    ],
)
def test_wrong_options(options, told):
    with pytest.raises(TextkdError, match=told):
        tasks.ocr(**{"train": "a.parquet", "eval": "b.parquet", **options})


def test_wrong_options_all_at_once():
    with pytest.raises(TextkdError) as caught:
        tasks.ocr("a.parquet", None, tokenizer="x", seed=-1, generation={"a": 1})
    assert len(caught.value.problems) == 4
