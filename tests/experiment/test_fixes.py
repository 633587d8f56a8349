"""What a message offers works: its fix is put where it says, and the problem is gone, without a new one there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
import pytest
from ocr_lab import EVAL, Reading, write_lines
from second_proofs import but_few
from spoil import copy_teacher, put, with_data
from test_bad_input import LABELS, MNLI, RECIPES
from tiny_lab import Tiny

from textkd.config.build import from_recipe
from textkd.errors import Problem, TextkdError

pytestmark = pytest.mark.long  # each tries many recipes or trains readers

OUT: Any = object()  # a key is left out
Change = Callable[[dict, Tiny], None]


def problems_of(recipe: dict, tiny: Tiny) -> list[Problem]:
    try:
        from_recipe(tiny.write(recipe)).check()
    except TextkdError as error:
        return list(error.problems)
    return []


def put_at(recipe: dict, place: str, value: Any) -> None:
    """A value at a place as messages write it, as ``matches[1].loss``."""
    *parents, last = re.findall(r"[^.\[\]]+", place)
    at: Any = recipe
    for name in parents:
        at = at[int(name)] if isinstance(at, list) else at[name]
    if value is OUT:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value


# the rows of test_bad_input: what its message offers, as words of it, and the same put into the recipe
FIXES: dict[str, tuple[str, dict[str, Any]]] = {
    "top key": ("nearest: control", {"controll": OUT, "control": True}),
    "teacher key": ("nearest: path", {"teacher.pat": OUT}),
    "match key": ("nearest: temperature", {"matches[1].temprature": OUT, "matches[1].temperature": 2}),
    "stage key": ("nearest: frozen", {"stages[0].freeze": OUT, "stages[0].frozen": []}),
    "training key": ("nearest: learning_rate", {"training.learning_rat": OUT, "training.learning_rate": 1}),
    "stage training key": ("nearest: learning_rate", {"stages[0].training": {"learning_rate": 1}}),
    "finetune key": ("nearest: num_train_epochs", {"teacher.finetune": {"num_train_epochs": 1}}),
    "finetune frozen": ("bert.encoder.layer.0", {"teacher.finetune.frozen": ["bert.encoder.layer.0"]}),
    "finetune frozen nothing": ("leave it out", {"teacher.finetune.frozen": OUT}),
    "finetune frozen text": ("give a list of module names", {"teacher.finetune.frozen": ["bert"]}),
    "task key": ("nearest: path", {"task.pth": OUT}),
    "student key": ("nearest: shrink", {"student.shrnk": OUT}),
    "shrink key": ("nearest: layers", {"student.shrink.layer": OUT}),
    "option": ("its options: reduction", {"matches[2].options": {"reduction": "mean"}}),
    "missing key": ("{shrink: {layers: [2, 4, 6]}}", {"student": {"shrink": {"layers": [2, 4]}}}),
    "loss": ("nearest: kl", {"matches[1].loss": "kl"}),
    "loss of two vocabularies": ("loss: kl", {"matches[1].loss": "kl"}),
    "one tap as two": ("name every tap once", {"matches[1]": {"tap": "logits"}}),
    "loss of another family": ("tap attention", {"matches[2].tap": "attention"}),
    "tap": ("nearest: hidden", {"matches[2].tap": "hidden"}),
    "task": ("nearest: glue", {"task.name": "glue"}),
    "subset": ("nearest: sst2", {"task.subset": "sst2"}),
    "layer map": ("nearest: uniform", {"matches[2].layers": "uniform"}),
    "schedule": ("nearest: linear", {"matches[2].schedule": {"kind": "linear"}}),
    "projection": ("nearest: linear", {"matches[2].projection": "linear"}),
    "scheduler": ("nearest: linear", {"training.lr_scheduler_type": "linear"}),
    "save and best": ("true or false", {"training.load_best_model_at_end": True}),
    "frozen": ("nearest: bert.embeddings", {"stages[0].frozen": ["bert.embeddings"]}),
    "all frozen": ("freeze less", {"stages[0].frozen": ["bert"]}),
    "shrink": ("use 1 to 4", {"student.shrink.layers": [1, 4]}),
    "grow": ("hidden: 32 or 48", {"student.grow": {"wider": {"hidden": 32}}}),
    "recurrent": ("nearest: bilstm", {"student": {"recurrent": {"kind": "bilstm"}}}),
    "a tap of a transformer": ("it has logits, embeddings, hidden", {"matches[2].tap": "hidden"}),
    "grow key": ("nearest: wider", {"student.grow": {"wider": {"ffn": 99}}}),
    "student block": ("hidden:0 to hidden:2", {"matches[2].layers": {2: 4}}),
    "teacher block": ("hidden:0 to hidden:4", {"matches[2].layers": {1: 4}}),
    "address": ("nearest: hidden:2", {"matches[2].tap": "hidden:2"}),
    "one block open": ('"hidden:2"', {"matches[2].student": "hidden:2"}),
    "module": ("nearest: bert.pooler.dense", {"matches[2].tap": "module:bert.pooler.dense"}),
    "size of vocabulary": ("shrink the teacher", {"student": {"shrink": {"layers": [2, 4]}}}),
    "student's vocabulary": ("shrink the teacher", {"student": {"shrink": {"layers": [2, 4]}}}),
    "teacher's label count": ("finetune it on the task first", {"teacher.finetune": {"num_train_epochs": 1}}),
    "pickle": ("allow_pickle: true", {"teacher.allow_pickle": True}),
    "both": ("give one of the two", {"matches": OUT}),
    "neither": ("{tap: labels}", {"matches": [LABELS]}),
    "stage without matches": ("matches: a list, as [{tap: labels}", {"stages[0].matches": [LABELS]}),
    "twice": ("remove one", {"matches": [LABELS]}),
    **{f"weight {value}": ("a number", {"matches[1].weight": 1}) for value in ("-1", "0", "nan", "inf", "much")},
    "temperature": ("as 2.0", {"matches[1].temperature": 2.0}),
    "temperature of mse": ("leave it out", {"matches[2].temperature": OUT}),
    **{f"{what} seed": ("seeds: [1, 2, 3]", {"seeds": [1, 2, 3]}) for what in ("no", "negative", "large")},
    "same seeds": ("name each seed once", {"seeds": [1]}),
    "no step": ("-1 for num_train_epochs", {"training.max_steps": -1}),
    "large seed of a limit": ("{rows: 10000, seed: 0}", {"task.limit": {"rows": 10000, "seed": 0}}),
    "length 0": ("max_length: 4 to 40", {"max_length": 4}),
    "length 41": ("max_length: 4 to 40", {"max_length": 40}),
    "epochs": ("give a number", {"training.num_train_epochs": 1}),
    "no epochs": ("a finite number above 0", {"training.num_train_epochs": 0.5}),
    "quoted number": ("0.0001", {"training.learning_rate": 0.0001}),
    "batch": ("give a whole number", {"training.per_device_train_batch_size": 2}),
    "types": ("[{tap: labels}, {tap: logits}]", {"matches": [LABELS, {"tap": "logits"}]}),
    "control": ("{learning_rate: 5.0e-5}", {"control": {"learning_rate": 5.0e-5}}),
    "best by": ("nearest: accuracy", {"training.metric_for_best_model": "accuracy",
                                      "training.load_best_model_at_end": True}),
    "control steps": ("leave it out", {"control.max_steps": OUT}),
    "dropout": ("dropout: 0.0", {"training.dropout": 0.0}),
    "average": ("average: 0.999", {"training.average": 0.999}),
    "control frozen": ("nearest: bert.embeddings", {"control.frozen": ["bert.embeddings"]}),
    "control frozen text": ("frozen: [bert]", {"control.frozen": ["bert"]}),
    "control dropout": ("dropout: 0.0", {"control.dropout": 0.0}),
    "fp16": ("leave it out", {"training.fp16": OUT}),
}  # fmt: skip
# of files, or of what only a person knows
BY_HAND = {"a cached teacher that pads on the left", 
    "not UTF-8", "loss that trains its target", "teacher's label order", "no file", "no column", "no rows", "label",
    "UTF-16",
    "no teacher", "truncated weights", "broken config", "no tokenizer", "hash", "another run", "another folder",
    "a file",
}  # fmt: skip
FIRST = {"top key", "option", "loss", "shrink", "teacher block", "subset", "temperature of mse", "length 41", "types",
         "control steps"}  # fmt: skip


def text_files(content: bytes, **task: Any) -> Change:
    """A text task on two files of this content."""

    def change(recipe: dict, tiny: Tiny) -> None:
        for name in ("train", "eval"):
            (tiny.folder / f"{name}.csv").write_bytes(content)
            task[name] = str(tiny.folder / f"{name}.csv")
        recipe["task"] = {"name": "text", **task}

    return change


def saved(recipe: dict, tiny: Tiny) -> None:
    rows = datasets.Dataset.from_dict({"text": ["good film", "bad film"] * 8, "label": [1, 0] * 8})
    rows.save_to_disk(tiny.folder / "saved")
    recipe["task"] = {"name": "text", "train": str(tiny.folder / "saved"), "eval": {"fraction": 0.25}}


def student_of(**settings: Any) -> Change:
    return lambda recipe, tiny: recipe.update(student={"path": str(copy_teacher(tiny, **settings))})


def heads(**match: Any) -> Change:
    def change(recipe: dict, tiny: Tiny) -> None:
        student_of(num_attention_heads=2)(recipe, tiny)
        recipe["matches"][2] = {"tap": "attention", "layers": "uniform", **match}

    return change


def ocr(**columns: str) -> Change:
    """Lines of a file with other columns than image and text."""

    def change(recipe: dict, tiny: Tiny) -> None:
        file = write_lines(tiny.folder / "lines.parquet", EVAL)
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(file).rename_columns(["scan", "words"]), file)
        made = Reading(tiny.folder).recipe
        made["task"] |= {"train": str(file), "eval": {"digits": EVAL}, **columns}
        recipe.clear()
        recipe.update(made)

    return change


LINES = {"path": "DIR/lines.parquet", "image": "scan", "text": "words"}
NEW_HEAD = {"from": "DIR/other", "shrink": {"layers": "uniform", "n_layers": 4}}
GBK = "text,label\n\u597d film,1\n\u574f film,0\n".encode("gbk")
MORE: dict[str, tuple[Change, str, dict[str, Any]]] = {
    "heads": (heads(), "options: {heads: mean}", {"matches[2].options": {"heads": "mean"}}),
    "heads of kl": (heads(loss="kl"), "loss: mse with options: {heads: mean}",
                    {"matches[2].loss": "mse", "matches[2].options": {"heads": "mean"}}),
    "smoothing": (put("training.label_smoothing_factor", 0.1), "options: {label_smoothing: 0.1}",
                  {"training.label_smoothing_factor": OUT, "matches[0].options": {"label_smoothing": 0.1}}),
    "semicolons": (text_files(b"text;label\ngood film;1\nbad film;0\n"), 'delimiter: ";"', {"task.delimiter": ";"}),
    "GBK": (text_files(GBK), "encoding: gb18030", {"task.encoding": "gb18030"}),
    "UTF-16 of one's own": (text_files(GBK.decode("gbk").encode("utf-16")), "encoding: utf-16",
                            {"task.encoding": "utf-16"}),
    "save_to_disk": (saved, "dataset: DIR/saved in place of files",
                     {"task.dataset": "DIR/saved", "task.train": OUT}),
    "a head of other labels": (student_of(**MNLI), "{from: FOLDER, shrink: {layers: uniform, n_layers: 4}}",
                               {"student": NEW_HEAD}),
    "a column of lines beside the task": (ocr(image="scan"), "inside train and eval",
                                          {"task.image": OUT, "task.train": LINES}),
    "columns of lines": (ocr(), "train: {path: FILE, image: COLUMN, text: COLUMN}", {"task.train": LINES}),
    "part of a data set": (with_data("sentence;label\ngood;1\nbad;0\n"), "save it with", {"task.path": "DIR/data"}),
}  # fmt: skip
TABLE = {name: (change, *FIXES[name]) for name, change, _ in RECIPES if name in FIXES} | MORE


def filled(value: Any, folder: Path) -> Any:
    """The value with a place for DIR."""
    if isinstance(value, dict):
        return {key: filled(one, folder) for key, one in value.items()}
    return value.replace("DIR", str(folder)) if isinstance(value, str) else value


@pytest.mark.parametrize("name", but_few(TABLE, *FIRST, *MORE))
def test_a_fix_works(name: str, tiny: Tiny) -> None:
    change, offered, fix = TABLE[name]
    recipe = tiny.recipe
    change(recipe, tiny)
    before = problems_of(recipe, tiny)
    said = "\n".join(map(str, before))
    assert filled(offered, tiny.folder) in said
    for place, value in fix.items():
        put_at(recipe, place, filled(value, tiny.folder))
    assert problems_of(recipe, tiny) == []


def test_every_bad_recipe_has_its_fix_tried() -> None:
    assert {name for name, *_ in RECIPES} - set(FIXES) == BY_HAND
