"""Which checkpoint is the best one, where a training ends in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from textkd.training.arguments import given_arguments, make_arguments
from textkd.training.stages import Data, Stage, _Run

BEST = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}


def chosen(given: Any, main: str, rises: bool, folder: Path) -> tuple[str | None, bool | None]:
    data = Data([], [], lambda rows: {}, lambda *_: {}, "mse", main, rises)
    run = _Run(folder, 1, {"student": torch.nn.Linear(1, 1)}, {}, Stage(()), data, given, 1)
    made = make_arguments(run._training(), folder)
    return made.metric_for_best_model, made.greater_is_better


@pytest.mark.parametrize(
    ("given", "main", "rises", "expected"),
    [
        ({}, "accuracy", True, ("accuracy", True)),
        ({}, "cer", False, ("cer", False)),
        ({"metric_for_best_model": None}, "cer", False, ("cer", False)),
        ({"metric_for_best_model": "eval_cer"}, "cer", False, ("cer", False)),
        ({"metric_for_best_model": "mse"}, "pearson", True, ("mse", False)),
        ({"metric_for_best_model": "exact"}, "cer", False, ("exact", True)),
        ({"metric_for_best_model": "wer"}, "cer", False, ("wer", False)),
        ({"metric_for_best_model": "eval_loss"}, "accuracy", True, ("loss", False)),
        ({"metric_for_best_model": "loss", "greater_is_better": True}, "cer", False, ("loss", True)),
        ({"greater_is_better": False}, "accuracy", True, ("accuracy", False)),
    ],
)
def test_the_best_is_by_the_named_metric_in_its_own_direction(
    given: dict[str, Any], main: str, rises: bool, expected: tuple[str, bool], tmp_path: Path
) -> None:
    assert chosen({**BEST, **given}, main, rises, tmp_path) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, ("cer", False)), ({"metric_for_best_model": "wer"}, ("wer", False)),
     ({"metric_for_best_model": "exact"}, ("exact", True)),
     ({"metric_for_best_model": "loss", "greater_is_better": True}, ("loss", True))],
)  # fmt: skip
def test_what_transformers_fills_in_by_itself_is_nobodys_wish(
    given: dict[str, Any], expected: tuple[str, bool], tmp_path: Path
) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), **BEST, **given)
    assert chosen(given_arguments(args), "cer", False, tmp_path) == expected


def test_without_a_best_model_transformers_own_arguments_stay(tmp_path: Path) -> None:
    assert chosen({}, "cer", False, tmp_path) == (None, None)
