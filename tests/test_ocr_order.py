"""Recognisers train on batches of any lengths, unless the recipe says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from textkd.methods.stages import Data, Stage, _Run


def strategy(writes: bool, **training: Any) -> str | None:
    generate = (lambda model, batch: torch.zeros(1, 1)) if writes else None
    data = Data(None, None, lambda rows: {}, lambda a, b: {}, "sequence_to_sequence", "cer", generate=generate)
    run = _Run(Path("unused"), 1, nn.Linear(1, 1), None, Stage(()), data, training, 0)
    return run._training().get("train_sampling_strategy")


def test_batches_of_lines_are_not_grouped_by_the_length_of_their_texts():
    assert strategy(writes=True) == "random"
    assert strategy(writes=True, train_sampling_strategy="group_by_length") == "group_by_length"


def test_batches_of_texts_are_left_to_the_default():
    assert strategy(writes=False) is None
