"""Ways to spoil a good recipe, its data and its models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tiny_lab import Tiny, make_teacher, make_tokenizer
from transformers import BertConfig, BertForSequenceClassification


def copy_teacher(tiny: Tiny, **settings: Any) -> Path:
    """Another tiny teacher of the test's own, in the folder `other`."""
    make_other(**settings).save_pretrained(tiny.folder / "other")
    make_tokenizer().save_pretrained(tiny.folder / "other")
    return tiny.folder / "other"


def make_other(**settings: Any) -> BertForSequenceClassification:
    values = {**make_teacher(layers=1).config.to_dict(), "num_hidden_layers": 4, **settings}
    return BertForSequenceClassification(BertConfig(**values))


def write_data(tiny: Tiny, train: str | bytes) -> None:
    folder = tiny.folder / "own"
    folder.mkdir()
    (folder / "train.tsv").write_bytes(train if isinstance(train, bytes) else train.encode())
    (folder / "dev.tsv").write_text("sentence\tlabel\ngood film\t1\nbad film\t0\n")


def put(path: str, value: Any) -> Callable[[dict, Tiny], None]:
    """Sets a value in the recipe; DIR in a text stands for the test's folder."""

    def change(recipe: dict, tiny: Tiny) -> None:
        *parents, last = (int(p) if p.isdigit() else p for p in path.split("."))
        at: Any = recipe
        for name in parents:
            at = at[name]
        at[last] = value.replace("DIR", str(tiny.folder)) if isinstance(value, str) else value

    return change


def with_data(train: str | bytes) -> Callable[[dict, Tiny], None]:
    def change(recipe: dict, tiny: Tiny) -> None:
        write_data(tiny, train)
        recipe["task"]["path"] = str(tiny.folder / "own")

    return change


def with_teacher(
    change_files: Callable[[Path], None] = lambda _: None, **settings: Any
) -> Callable[[dict, Tiny], None]:
    def change(recipe: dict, tiny: Tiny) -> None:
        folder = copy_teacher(tiny, **settings)
        change_files(folder)
        recipe["teacher"]["path"] = str(folder)

    return change


def with_student(change_files: Callable[[Path], None], **settings: Any) -> Callable[[dict, Tiny], None]:
    def change(recipe: dict, tiny: Tiny) -> None:
        folder = copy_teacher(tiny, **settings)
        change_files(folder)
        recipe["student"] = {"path": str(folder)}

    return change


def stages(*blocks: Any) -> Callable[[dict, Tiny], None]:
    def change(recipe: dict, _: Tiny) -> None:
        del recipe["matches"]
        recipe["stages"] = list(blocks)

    return change


def both(recipe: dict, _: Tiny) -> None:
    recipe["stages"] = [{"matches": recipe["matches"]}]


def drop(name: str) -> Callable[[dict, Tiny], None]:
    return lambda recipe, _: recipe.pop(name)


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert", ')


def to_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def other_words(folder: Path) -> None:
    inner = json.loads((folder / "tokenizer.json").read_text())
    vocab = inner["model"]["vocab"]
    vocab["good"], vocab["bad"] = vocab["bad"], vocab["good"]
    (folder / "tokenizer.json").write_text(json.dumps(inner))


def foreign_run(recipe: dict, tiny: Tiny) -> None:
    (tiny.folder / "run").mkdir()
    (tiny.folder / "run" / "run.json").write_text('{"name": "other", "fingerprint": "0"}')


def used_folder(_: dict, tiny: Tiny) -> None:
    (tiny.folder / "run").mkdir()
    (tiny.folder / "run" / "thesis.txt").write_text("ten years of work")


def file_for_folder(_: dict, tiny: Tiny) -> None:
    (tiny.folder / "run").write_text("a file")


def padded_left(recipe: dict, tiny: Tiny) -> None:
    file = copy_teacher(tiny) / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"padding_side": "left"}))
    recipe["teacher"] |= {"path": str(tiny.folder / "other"), "cache": True}
