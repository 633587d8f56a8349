"""Encoding, batches, and the decisions that metrics are computed from."""

import json

import numpy as np
import pytest
import torch
from task_files import tokenizer, tsv, write

from textkd import tasks
from textkd.errors import TextkdError

TOKENIZER = tokenizer()
WORDS = ["[CLS]", "a", "good", "film", "[SEP]", "it", "was", "good", "[SEP]"]


@pytest.fixture
def pairs(tmp_path):
    rows = [(0, "a good film", "it was good and long", "entailment"), (1, "bad", "not good", "not_entailment")]
    write(tmp_path, "dev.tsv", tsv(("index", "sentence1", "sentence2", "label"), *rows))
    return tasks.glue("rte", tmp_path)


def test_columns_are_those_that_the_models_take(pairs):
    with_segments = pairs.encode(TOKENIZER, "eval", {"input_ids", "attention_mask", "token_type_ids"}, 32)
    without = pairs.encode(TOKENIZER, "eval", {"input_ids", "attention_mask"}, 32)
    assert set(with_segments.column_names) - set(without.column_names) == {"token_type_ids"}
    assert set(without.column_names) == {"input_ids", "attention_mask", "labels", "example_id", "length"}
    row = with_segments[0]
    words = ["[CLS]", "a", "good", "film", "[SEP]", "it", "was", "good", "and", "long", "[SEP]"]
    assert TOKENIZER.convert_ids_to_tokens(row["input_ids"]) == words
    assert row["token_type_ids"] == [0] * 5 + [1] * 6
    assert (row["length"], row["labels"], row["example_id"]) == (11, 0, 0)


def test_segments_where_the_tokenizer_has_none_by_default(pairs):
    """A DistilBERT student's tokenizer must not cost a BERT teacher its segments."""
    plain = tokenizer(model_input_names=["input_ids", "attention_mask"])
    rows = pairs.encode(plain, "eval", {"input_ids", "token_type_ids"}, 32)
    assert rows[0]["token_type_ids"] == [0] * 5 + [1] * 6
    assert pairs.collator(plain)([rows[0], rows[1]])["token_type_ids"].tolist()[1] == [0] * 3 + [1] * 3 + [0] * 5


def test_pairs_are_cut_longest_first(pairs):
    row = pairs.encode(TOKENIZER, "eval", set(), 9)[0]
    assert TOKENIZER.convert_ids_to_tokens(row["input_ids"]) == WORDS


def test_no_cache_file_and_a_fingerprint_that_depends_on_the_settings(pairs):
    one, same, other = (pairs.encode(TOKENIZER, "eval", set(), n) for n in (16, 16, 12))
    assert one.cache_files == []
    assert one._fingerprint == same._fingerprint != other._fingerprint


def test_batches_are_padded_to_their_longest_row(pairs):
    rows = pairs.encode(TOKENIZER, "eval", {"token_type_ids"}, 32)
    features = [{**row, "note": "text", "cached": None} for row in rows]
    batch = pairs.collator(TOKENIZER)(features)
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "input_ids": (2, 11),
        "attention_mask": (2, 11),
        "token_type_ids": (2, 11),
        "labels": (2,),
        "example_id": (2,),
    }
    assert batch["attention_mask"].sum(1).tolist() == [11, 6]
    assert batch["input_ids"][1, 6:].unique().tolist() == [TOKENIZER.pad_token_id]
    assert (batch["labels"].dtype, batch["labels"].tolist()) == (torch.int64, [0, 1])
    assert batch["example_id"].tolist() == [0, 1]
    assert "labels" not in pairs.collator(TOKENIZER)([{"input_ids": [2, 3], "attention_mask": [1, 1]}])


def test_labels_of_scores_and_label_sets_are_floats(tmp_path):
    scores = write(tmp_path, "x.csv", "text,label\ngood,2\nbad,0.5\n")
    task = tasks.text(scores, scores, type="regression")
    batch = task.collator(TOKENIZER)(list(task.encode(TOKENIZER, "train", set())))
    assert (batch["labels"].dtype, batch["labels"].tolist()) == (torch.float32, [2.0, 0.5])
    sets = write(tmp_path, "x.json", json.dumps([{"text": "a", "label": ["x"]}, {"text": "b", "label": ["x", "y"]}]))
    task = tasks.text(sets, sets, type="multi_label")
    batch = task.collator(TOKENIZER)(list(task.encode(TOKENIZER, "train", set())))
    assert (batch["labels"].dtype, batch["labels"].tolist()) == (torch.float32, [[1.0, 0.0], [1.0, 1.0]])


def test_an_impossible_length(pairs):
    with pytest.raises(TextkdError, match="special tokens"):
        pairs.encode(tokenizer(model_max_length=64), "eval", set(), 3)


def test_what_a_tokenizer_says_of_its_last_model_forbids_nothing(pairs):
    short, long = (pairs.encode(tokenizer(model_max_length=n), "eval", set(), 65) for n in (4, 512))
    assert list(short["input_ids"]) == list(long["input_ids"])


def test_a_tokenizer_without_padding(pairs):
    bare = tokenizer()
    bare.pad_token = None
    with pytest.raises(TextkdError, match="no pad token"):
        pairs.collator(bare)


def test_decisions():
    assert tasks.glue("mnli").output.decide([[0.1, 0.3, 0.2], [2, 1, 0]]).tolist() == [1, 0]
    assert tasks.glue("stsb").output.decide([[0.5], [2.0]]).tolist() == [0.5, 2.0]
    assert tasks.glue("sst2").output.decide(np.array([1, 0])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("subset", "predictions", "labels", "told"),
    [
        ("sst2", [[float("nan"), 1.0], [0.0, 1.0]], [0, 1], "NaN in 1 of 2 rows"),
        ("stsb", [float("nan"), 1.0], [0.0, 1.0], "the training diverged"),
        ("sst2", [[0.0, 1.0]], [0, 1], "1 predictions, 2 labels"),
        ("sst2", np.zeros((0, 2)), [], "0 predictions"),
    ],
)
def test_predictions_that_cannot_be_judged(subset, predictions, labels, told):
    with pytest.raises(TextkdError, match=told):
        tasks.glue(subset).output.compute_metrics(predictions, labels)


@pytest.mark.parametrize(("subset", "constant"), [("cola", [[0.0, 1.0]] * 4), ("stsb", [[2.0]] * 4)])
def test_constant_predictions_are_zero_and_noted(subset, constant, tmp_path):
    rows = {
        "cola": [("sentence", "label"), ("a", 0), ("b", 1)],
        "stsb": [("sentence1", "sentence2", "score"), ("a", "b", 1)],
    }
    task = tasks.glue(subset).with_file(write(tmp_path, "x.tsv", tsv(*rows[subset])))
    assert set(task.output.compute_metrics(constant, [0, 1, 1, 0]).values()) == {0.0}
    assert any("all 4 predictions were" in doubt for doubt in task.output.doubts(constant, [0, 1, 1, 0]))


def test_a_correlation_that_is_none_is_doubted(tmp_path):
    rows = [("sentence1", "sentence2", "score"), ("a", "b", 1)]
    task = tasks.glue("stsb").with_file(write(tmp_path, "x.tsv", tsv(*rows)))
    assert task.output.doubts([[1.0]], [2.0]) == ["pearson and spearmanr of one row: undefined, counted as 0"]
    (doubt,) = task.output.doubts([[1.0], [2.0]], [2.0, 2.0])
    assert doubt == "all 2 labels are 2.0: pearson and spearmanr undefined, counted as 0"
    assert task.output.doubts([[1.0], [2.0]], [2.0, 3.0]) == []
