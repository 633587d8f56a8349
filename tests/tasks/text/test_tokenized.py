"""What is lost of texts on their way to the model is told by `check` and by the report."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_line import textkd
from tiny_lab import Tiny, make_tokenizer

from textkd.tasks.text.tokenized import SAMPLE, doubts

TOKENIZER = make_tokenizer()


def test_nothing_is_told_where_nothing_is_lost() -> None:
    assert doubts(TOKENIZER, ["good film"] * 30, 16, "train") == []
    assert doubts(TOKENIZER, [], 16, "train") == []


def test_texts_that_are_cut() -> None:
    (told,) = doubts(TOKENIZER, ["good film"] * 8 + ["good film " * 10] * 2, 16, "train")
    assert "train: 20% of the texts" in told
    assert "the longest: 22 tokens" in told
    assert told.endswith("max_length: 22 cuts 0%")
    assert doubts(TOKENIZER, ["good film"] * 99 + ["good film " * 10], 16, "train") == []  # one of a hundred


def test_pairs_count_together() -> None:
    assert doubts(TOKENIZER, [("good film " * 3, "bad plot " * 3)] * 4, 16, "train") == []
    (told,) = doubts(TOKENIZER, [("good film " * 4, "bad plot " * 4)] * 4, 16, "train")
    assert "100% of the texts" in told


def test_words_that_nobody_knows() -> None:
    (told,) = doubts(TOKENIZER, ["ein guter film", "good film"], 16, "eval")
    assert "eval: 40% of the tokens are [UNK]" in told


def test_many_texts_are_a_sample() -> None:
    asked = []

    class Counted:
        unk_token_id, all_special_ids = None, ()

        def __call__(self, *texts: str, **_: Any) -> dict[str, Any]:
            asked.append(texts)
            return {"input_ids": [1]}

    doubts(Counted(), ["good film"] * 5000, 16, "train")
    assert SAMPLE / 2 < len(asked) <= SAMPLE


@pytest.mark.long
def test_check_and_the_report_tell_it(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tiny.write(tiny.recipe | {"max_length": 5, "control": False})
    code, said = textkd(capsys, monkeypatch, "check", str(file))
    assert code == 0, said
    assert "are longer than max_length 5" in said
    code, said = textkd(capsys, monkeypatch, "run", str(file), "training.max_steps=1")
    assert code == 0, said
    warnings = json.loads((tiny.folder / "run" / "results.json").read_text())["warnings"]
    assert any("are longer than max_length 5" in warning for warning in warnings)
