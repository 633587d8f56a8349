"""The rows of lines: batches of any lengths, unless the recipe says otherwise, and each known by its number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ocr_lab import data, make_reader, train
from torch import nn

from textkd import Match
from textkd.models.students import shrink
from textkd.tasks.ocr.rows import LineRows
from textkd.training.stages import Data, Stage, _Run


def strategy(writes: bool, **training: Any) -> str | None:
    generate = (lambda model, batch: torch.zeros(1, 1)) if writes else None
    data = Data(None, None, lambda rows: {}, lambda a, b: {}, "sequence_to_sequence", "cer", generate=generate)
    run = _Run(Path("unused"), 1, {"student": nn.Linear(1, 1)}, {}, Stage(()), data, training, 0)
    return run._training().get("train_sampling_strategy")


def test_batches_of_lines_are_not_grouped_by_the_length_of_their_texts():
    assert strategy(writes=True) == "random"
    assert strategy(writes=True, train_sampling_strategy="group_by_length") == "group_by_length"


def test_batches_of_texts_are_left_to_the_default():
    assert strategy(writes=False) is None


@pytest.mark.long
def test_a_loss_remembers_every_line_where_others_are_left_out(tmp_path: Path) -> None:
    teacher, lines = make_reader(), data()
    odd = list(range(1, 40, 2))
    kept = LineRows(lines.train.table, [lines.train["labels"][i] for i in odd], odd)
    assert kept["example_id"] == list(range(20))
    assert kept[3]["place"] == kept["place"][3] == 7
    student = shrink(teacher, encoder_layers=2, decoder_layers=1)
    matches = [
        Match("labels"),
        Match("encoder.hidden", loss="crd", layers="last", options={"negatives": "other_row", "positives": "same_row"}),
    ]
    done = train(tmp_path, student, teacher, matches, replace(lines, train=kept))
    assert done.steps == 6
