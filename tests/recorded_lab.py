"""Tiny runs whose every number is known: weights by a formula, data in a file, one thread, no dropout.

`python tests/recorded_lab.py` writes tests/recorded/*.json anew. Do that only where a change of the numbers is meant.
"""

from __future__ import annotations

import copy
import json
import runpy
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ocr_lab import Reading, make_reader, processor, write_lines
from tiny_lab import Tiny, make_teacher, make_tokenizer, sentences, write_tsv
from torch import nn

RECORDED = Path(__file__).with_name("recorded")
ATTENTION = {"tap": "attention", "loss": "mse", "layers": "uniform"}
LINES = {"digits": [1, 4], "height": 16}


@torch.no_grad()
def filled(model: Any) -> Any:
    """The model with weights that depend on their names and shapes alone: neither torch's generator nor the order in
    which layers are made has a say. numpy's RandomState is frozen: it gives the same numbers in every version."""
    norms = {f"{name}.weight" for name, part in model.named_modules() if isinstance(part, nn.LayerNorm)}
    for name, weight in model.named_parameters():
        drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(weight.shape))
        value = 1 + 0.1 * drawn if name in norms else 0.4 * drawn
        weight.copy_(torch.from_numpy(value.astype(np.float32)))
    return model.eval()


def text_folder(folder: Path) -> Tiny:
    """A given teacher of 4 blocks and rows of labelled sentences."""
    filled(make_teacher()).save_pretrained(folder / "teacher")
    make_tokenizer().save_pretrained(folder / "teacher")
    write_tsv(folder / "data" / "train.tsv", sentences(32, 0))
    write_tsv(folder / "data" / "dev.tsv", sentences(16, 1))
    return Tiny(folder)


def one_stage(folder: Path) -> Path:
    """Labels, softened logits, hidden states and attention, with a control."""
    made = text_folder(folder)
    recipe = made.recipe
    recipe["training"] |= {"dropout": 0.0, "num_train_epochs": 2}
    recipe["matches"].append(ATTENTION)
    return made.write(recipe)


def two_stages(folder: Path) -> Path:
    """First the hidden states and the attention, then the logits and the labels."""
    made = text_folder(folder)
    recipe = made.recipe
    recipe["training"] |= {"dropout": 0.0, "num_train_epochs": 1}
    labels, logits, hidden = recipe.pop("matches")
    recipe["stages"] = [
        {"name": "inside", "matches": [hidden, ATTENTION], "training": {"learning_rate": 2.0e-3}},
        {"name": "answers", "matches": [labels, logits]},
    ]
    return made.write(recipe)


def lines(folder: Path) -> Path:
    """A reader of handwritten digits, without augmentation: its images would depend on the version of Pillow."""
    filled(make_reader()).save_pretrained(folder / "teacher")
    processor().save_pretrained(folder / "teacher")
    made = Reading(folder, folder / "teacher")
    recipe = copy.deepcopy(made.recipe)
    train = write_lines(folder / "train.parquet", {**LINES, "split": "train", "n": 24, "seed": 1})
    dev = write_lines(folder / "dev.parquet", {**LINES, "split": "eval", "n": 8, "seed": 2})
    recipe["task"] = {"name": "ocr", "train": str(train), "eval": str(dev), "augment": False}
    recipe["training"]["dropout"] = 0.0
    return made.write(recipe)


CASES: dict[str, Callable[[Path], Path]] = {"one_stage": one_stage, "two_stages": two_stages, "lines": lines}


def numbers(name: str, folder: Path) -> dict[str, Any]:
    """Runs a case through the command line; the losses, parts and metrics of all its trainings."""
    threads, words = torch.get_num_threads(), sys.argv
    torch.set_num_threads(1)
    sys.argv = ["textkd", "run", str(CASES[name](folder))]
    try:
        with suppress(SystemExit):  # of a run that failed there are no results to read
            runpy.run_module("textkd", run_name="__main__")
    finally:
        torch.set_num_threads(threads)
        sys.argv = words
    models = json.loads((folder / "run" / "results.json").read_text())["models"]
    return {role: _numbers(model["runs"]) for role, model in models.items()}


def _numbers(runs: list[dict[str, Any]]) -> dict[str, Any]:
    (run,) = runs
    kept = ("step", "stage", "loss", "parts", "eval")
    return {
        "steps": run["steps"],
        "history": [{key: row[key] for key in kept if row.get(key) is not None} for row in run["history"]],
        "metrics": run["metrics"],
    }


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    for case in CASES:
        with tempfile.TemporaryDirectory() as place:
            found = numbers(case, Path(place))
        (RECORDED / f"{case}.json").write_text(json.dumps(found, indent=1) + "\n")
