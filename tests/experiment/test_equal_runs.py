"""Two runs of a recipe are equal to the bit on one machine: every recipe that textkd ships, over tiny stand-ins."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from drive import history, weights
from ocr_lab import EVAL, HEIGHT, TRAIN
from PIL import Image
from places import ROOT
from tagged import sentences, write
from tiny_lab import Tiny, make_teacher, make_tokenizer

from textkd.config import build
from textkd.teachers.generation import recogniser
from textkd.teachers.generation.recogniser import Reading, Recogniser

RECIPES = {str(file.relative_to(ROOT / "recipes")): file for file in sorted((ROOT / "recipes").rglob("*.yaml"))}
SMALL = {"hidden_size": 16, "intermediate_size": 32, "d_model": 16, "decoder_ffn_dim": 32, "num_attention_heads": 4,
         "decoder_attention_heads": 4, "max_position_embeddings": 16}  # fmt: skip
LEFT_OUT = ("num_train_epochs", "eval_strategy", "eval_steps", "save_strategy", "save_steps", "bf16", "warmup_steps")


class Blind(Recogniser):
    """A black box in the place of a model in ONNX: what it says depends on the image alone."""

    parameters, disk_mb = 1, 0.1

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def fingerprint(self) -> str:
        return "blind"

    def read(self, images: Sequence[Image.Image]) -> list[Reading]:
        return [Reading(str(np.asarray(image, np.int64).sum() % 97), 0.95, 0.9) for image in images]

    def prepared(self, images: Sequence[Image.Image]) -> Callable[[], list[Reading]]:
        return lambda: self.read(images)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A body of 6 blocks without a head, and tagged sentences."""
    folder = tmp_path_factory.mktemp("stand-ins")
    make_teacher(6).bert.save_pretrained(folder / "body")
    make_tokenizer().save_pretrained(folder / "body")
    write(folder / "train.conll", sentences(32, 0))
    write(folder / "dev.conll", sentences(16, 1))
    return folder


def few_steps(training: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in training.items() if name not in LEFT_OUT}
    return {**kept, "max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1}


def small(values: Any, body: Path) -> Any:
    """Models and trainings of a recipe, made small."""
    if isinstance(values, list):
        return [small(value, body) for value in values]
    if not isinstance(values, dict):
        return str(body) if "minilm" in str(values) and "/" in str(values) else values
    made = {name: small(value, body) for name, value in values.items() if name != "sha256"}
    for name in ("finetune", "training"):
        if isinstance(made.get(name), dict):
            made[name] = few_steps(made[name])
    if "image_size" in made:
        made |= {"image_size": [HEIGHT, 4 * HEIGHT], "patch_size": [HEIGHT, 8]}
    return made | {name: value for name, value in SMALL.items() if name in made}


def recipe(name: str, tiny: Tiny, stand_ins: Path, run: str) -> dict[str, Any]:
    values = small(yaml.safe_load(RECIPES[name].read_text()), stand_ins / "body")
    task = values["task"]["name"]
    if task == "ocr":
        data = {"train": {"digits": {**TRAIN, "n": 16}}, "eval": {"digits": {**EVAL, "n": 6}}}
        if "recogniser" in values.get("teacher", {}):
            values["pseudo"]["lines"] = {"digits": {**TRAIN, "n": 12, "seed": 5}}
        values["task"] = {"name": "ocr", **data, "height": HEIGHT, "width": 4 * HEIGHT, "augment": 0.5}
    elif task == "tokens":
        values["task"] = {
            "name": "tokens",
            "train": str(stand_ins / "train.conll"),
            "eval": str(stand_ins / "dev.conll"),
        }
    else:
        values["task"] = {"name": "glue", "subset": "sst2", "path": str(tiny.folder / "data")}
    values["training"]["output_dir"] = str(tiny.folder / run / "run")
    values.pop("max_length", None)
    return {**values, "seeds": values["seeds"][:1]}


def ran(values: dict[str, Any], tiny: Tiny, number: int) -> dict[str, Any]:
    """What a run ended in; all that is not seeded draws other numbers each time."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    made = build.from_recipe(tiny.write(values))
    made.run()
    folder, seed = made.folder.path, made.seeds[0]
    found: dict[str, Any] = {}
    for model in made.experiment.report.rows:
        found[model] = [
            {key: row.get(key) for key in ("step", "loss", "parts", "eval")} for row in history(folder, model)
        ]
    for home in sorted((folder / f"seed-{seed}").iterdir()):
        found[f"{home.name}, weights"] = weights(home)
    return found


# begins of names: one of each kind
FEW = ("quickstart", "cohort", "ocr/quickstart", "ocr/lines_blackbox")


def _mark(name: str) -> Any:
    kinds = [one for one in FEW if name.startswith(one)]
    first = kinds and name == next(other for other in RECIPES if other.startswith(kinds[0]))
    return pytest.param(name, marks=pytest.mark.long if first else pytest.mark.slow)


@pytest.mark.parametrize("name", [_mark(name) for name in RECIPES])
def test_two_runs_are_equal_to_the_bit(name: str, tiny: Tiny, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recogniser, "Recogniser", Blind)
    one, other = (ran(recipe(name, tiny, stand_ins, str(number)), tiny, number) for number in (1, 2))
    assert one.keys() == other.keys()
    assert sum(key.endswith("weights") for key in one) >= 1
    for key, value in one.items():
        if key.endswith("weights"):
            assert value.keys() == other[key].keys()
            assert all(torch.equal(tensor, other[key][part]) for part, tensor in value.items()), key
        else:
            assert value == other[key], key
