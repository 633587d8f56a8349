"""Words -> pieces with a label on the first of each; batches."""

from __future__ import annotations

from pathlib import Path

import pytest
from tagged import byte_tokenizer, pieces_tokenizer, sentences, write
from transformers import BertTokenizer

from textkd import tasks
from textkd.errors import TextkdError
from textkd.models.conventions import IGNORED
from textkd.tasks.tokens.encode import TokenCollator, encode_words

WORDS, LABELS = [["Ab", "c.", "​", "d"], ["e"]], [[1, 2, 0, 3], [1]]


def test_the_first_piece_of_a_word_has_its_label() -> None:
    rows = encode_words(pieces_tokenizer(), WORDS, LABELS, 16, {"token_type_ids"})
    x = IGNORED
    # [CLS] a ##b c . d [SEP]: the third word becomes no token
    assert rows["labels"][:] == [[x, 1, x, 2, x, 3, x], [x, 1, x]]
    assert rows["places"][:] == [[0, 1, 3], [0]]
    assert (rows["length"][:], rows["example_id"][:]) == ([7, 3], [0, 1])
    assert rows["token_type_ids"][0] == [0] * 7
    assert "token_type_ids" not in encode_words(pieces_tokenizer(), WORDS, LABELS, 16).column_names
    cut = encode_words(pieces_tokenizer(), WORDS, LABELS, 5)
    assert (cut["labels"][0], cut["places"][0]) == ([x, 1, x, 2, x], [0, 1])


def test_pieces_that_hold_the_space_before_their_word() -> None:
    rows = encode_words(byte_tokenizer(), [["Ab", "c", "de"]], [[1, 2, 3]], 16)
    x = IGNORED
    assert byte_tokenizer().convert_ids_to_tokens(rows["input_ids"][0]) == ["A", "b", "Ġc", "Ġ", "d", "e"]
    assert rows["labels"][:] == [[1, x, 2, x, 3, x]]
    assert rows["places"][:] == [[0, 1, 2]]


def test_batches_are_padded_on_the_side_of_the_tokenizer() -> None:
    x = IGNORED
    for side, due in (("right", [x, 1, x, x, x, x, x]), ("left", [x, x, x, x, x, 1, x])):
        tokenizer = pieces_tokenizer(padding_side=side)
        rows = encode_words(tokenizer, WORDS, LABELS, 16)
        batch = TokenCollator(tokenizer)([rows[0], rows[1]])
        assert set(batch) == {"input_ids", "attention_mask", "labels", "example_id"}
        assert batch["labels"].tolist() == [[x, 1, x, 2, x, 3, x], due]
        assert batch["attention_mask"].sum(1).tolist() == [7, 3]
    bare = pieces_tokenizer()
    bare.pad_token = None
    with pytest.raises(TextkdError, match="no pad token"):
        TokenCollator(bare)


def test_words_without_a_label_are_told(tmp_path: Path) -> None:
    train = write(tmp_path / "train.conll", [*sentences(4, 0), (["film", "​", "plot"], ["B-thing", "O", "O"])])
    task, tokenizer = tasks.tokens(train, train), pieces_tokenizer()
    task.encode(tokenizer, "train", (), 8)
    words = sum(map(len, task.load("train")["words"]))
    kept = sum(map(len, task.encode(tokenizer, "train", (), 8)["places"]))
    (note,) = [note for note in task.warnings() if "stand behind" in note]
    assert f"of {words:,} words, {words - kept - 1} stand behind max_length 8, 1 become no token" in note
    task.encode(tokenizer, "train", (), 128)
    assert not any("stand behind" in note for note in task.warnings())


def test_what_cannot_be_encoded() -> None:
    with pytest.raises(TextkdError, match="special tokens"):
        encode_words(pieces_tokenizer(), WORDS, LABELS, 2)

    class Slow(BertTokenizer):
        is_fast = False

    with pytest.raises(TextkdError, match="does not tell where pieces stand"):
        encode_words(Slow({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}), WORDS, LABELS, 8)
