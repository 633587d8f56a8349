"""What `check` once took for good, and what hid behind something else: the places that are told, no more and no less.

A recipe with several faults is the proof: each is told, and nothing that only follows from one of them.
"""

from __future__ import annotations

from typing import Any

import pytest
from tiny_lab import Tiny

from textkd.config import build
from textkd.errors import TextkdError

pytestmark = pytest.mark.long  # a whole check each, of models and data


def told(tiny: Tiny, *changes: tuple[str, Any]) -> list[str]:
    """The places of all problems of the tiny recipe with these changes; None takes a key away."""
    recipe = tiny.recipe
    for path, value in changes:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        at: Any = recipe
        for part in parents:
            at = at[part]
        if value is None:
            at.pop(last)
        else:
            at[last] = value
    try:
        build.from_recipe(tiny.write(recipe)).check()
    except TextkdError as error:
        return sorted(p.where for p in error.problems)
    return []


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ([("training.output_dir", 5)], ["training.output_dir"]),
        ([("training.output_dir", [])], ["training.output_dir"]),
        ([("training.output_dir", "/dev/null/x")], ["training.output_dir"]),
        ([("teacher.keep", "a" * 5000), ("teacher.finetune", {"num_train_epochs": 1}),
          ("training.output_dir", "a" * 300)], ["teacher.keep", "training.output_dir"]),
        ([("teacher.cache", {"folder": "/dev/null/x", "max_gb": 1})], ["teacher.cache.folder"]),
        ([("teacher.cache", {"max_gb": float("nan"), "temperature": float("inf")})],
         ["teacher.cache.max_gb", "teacher.cache.temperature"]),
        ([("training.seed", 10**18)], ["training.seed"]),
        ([("training.seed", "x"), ("seeds", None)], ["training.seed"]),
        ([("teacher.finetune", {"seed": "x", "num_train_epochs": 1e300})],
         ["teacher.finetune.num_train_epochs", "teacher.finetune.seed"]),
        ([("training.per_device_train_batch_size", 2**60)], ["training.per_device_train_batch_size"]),
    ],
)  # fmt: skip
def test_what_no_run_could_do(changes: list[tuple[str, Any]], places: list[str], tiny: Tiny) -> None:
    assert told(tiny, *changes) == places


SHRINK = {"shrink": {"layers": [2, 99]}}
WIDE = {"config": {"hidden_size": 7}}
NOWHERE = {"path": "nowhere"}


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ([("student", {**SHRINK, "shrnk": 1})], ["student.shrink.layers", "student.shrnk"]),
        ([("student.shrnk", 1), ("matches.2.layers", {3: 4})], ["matches[2].layers", "student.shrnk"]),
        ([("student.shrink", {"layers": [2, 99], "layer": 1})], ["student.shrink.layer", "student.shrink.layers"]),
        ([("student.shrink", {"layer": [2, 99]})], ["student.shrink.layer"]),
        ([("student.shrink", {"layers": [2, 99], "ffn": 99, "by": "fischer", "rows": 0})],
         ["student.shrink.by", "student.shrink.ffn", "student.shrink.layers", "student.shrink.rows"]),
        ([("task.path", "nowhere"), ("student.shrink", {"ffn": 8, "by": "fisher"})], ["task"]),  # no rows, for now
        ([("student", {**SHRINK, "share_encoder": "yes"})], ["student.share_encoder", "student.shrink.layers"]),
        ([("student", {**NOWHERE, "sha256": 5, "allow_pickle": "yes"})],
         ["student", "student.allow_pickle", "student.sha256"]),
        ([("student", {**SHRINK, **NOWHERE})], ["student"]),  # either may be meant
        ([("student", {**SHRINK, "from": ""})], ["student.from"]),
        ([("student", {"config": {"hiden_size": 8, "num_hidden_layers": -1, "num_attention_heads": 3}, "frm": 1})],
         ["student", "student", "student.frm"]),  # 3 heads may fit the width that is meant
        ([("student", None), ("chain", [{"name": "a", "student": {**SHRINK, "x": 1}},
                                        {"name": "a", "student": {"shrink": {}}, "training": {"lr": 1}}])],
         ["chain[0].student.shrink.layers", "chain[0].student.x", "chain[1].name", "chain[1].training.lr"]),
        ([("student", None), ("matches", None),
          ("cohort", {"students": {"a": {**SHRINK, "x": 1}, "b": WIDE, "control": {"shrink": {}}}, "update": "x"})],
         ["cohort.students.a.shrink.layers", "cohort.students.a.x", "cohort.students.b", "cohort.students.control",
          "cohort.students.control.shrink.layers", "cohort.update"]),
        ([("teacher", None), ("teachers", {"a": {**NOWHERE, "precision": "fp8"}, "control": NOWHERE}),
          ("matches", [{"tap": "labels"}])],
         ["teachers.a", "teachers.a.precision", "teachers.control", "teachers.control"]),
    ],
)  # fmt: skip
def test_a_bad_key_hides_nothing_of_its_block(changes: list[tuple[str, Any]], places: list[str], tiny: Tiny) -> None:
    assert told(tiny, *changes) == places


GONE = {"train": "nope.parquet", "eval": "nope2.parquet"}
DIGITS = {"digits": {"split": "test"}}


@pytest.mark.parametrize(
    ("task", "places"),
    [
        ({"name": "ocr", **GONE, "height": "x"}, ["eval", "height", "train"]),
        ({"name": "ocr", **GONE, "eval": DIGITS, "augment": 7, "generation": {"num_beams": 0}},
         ["augment", "eval.digits.split", "generation", "train"]),
        ({"name": "ocr", **GONE, "eval": [DIGITS, {"digits": {"n": -1, "splt": "eval"}}], "tokenizer": "words"},
         ["eval[0].digits.split", "eval[1].digits.n", "eval[1].digits.splt", "tokenizer", "train"]),
        ({"name": "ocr", "train": DIGITS, "eval": {"fraction": 0.1}, "extra_evals": {"more": DIGITS}},
         ["extra_evals.more.digits.split", "train.digits.split"]),
        ({"name": "ocr", "train": 7, "eval": DIGITS, "seed": "x"}, ["seed", "train"]),  # what eval is, nobody reads
        ({"name": "glue", "subset": "sst2", "path": "DIR/spoilt", "limit": -1}, ["", "limit"]),
        ({"name": "text", "train": "nope.csv", "eval": 5, "text": 5}, ["", "eval", "text"]),
        ({"name": "text", **GONE, "type": "regresion"}, ["", "", "type"]),
    ],
)  # fmt: skip
def test_a_bad_option_of_a_task_does_not_hide_its_files(task: dict[str, Any], places: list[str], tiny: Tiny) -> None:
    folder = tiny.folder / "spoilt"
    folder.mkdir()
    (folder / "train.tsv").write_text("sentence\tlabl\ngood\t1\n")
    (folder / "dev.tsv").write_text("sentence\tlabel\ngood\t1\nbad\t0\n")
    recipe = {key: value.replace("DIR", str(tiny.folder)) if key == "path" else value for key, value in task.items()}
    found = told(tiny, ("task", recipe), ("matches", [{"tap": "labels"}]))
    assert [place for place in found if place.startswith("task")] == sorted(f"task.{one}".rstrip(".") for one in places)
