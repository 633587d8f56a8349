"""Students of a recipe that are narrower: measured on real rows, alike for the control, published as plain folders."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_lab import begin
from ocr_lab import TRAIN, save_teacher, write_lines
from tiny_lab import Tiny, make_teacher
from transformers import AutoModelForSequenceClassification, BertModel

from textkd.config import build
from textkd.errors import TextkdError
from textkd.experiment import labelled
from textkd.models.loading import load_model, load_tokenizer
from textkd.models.students import shrink
from textkd.models.students.vocabulary import choose, trim

shrinking = importlib.import_module("textkd.models.students.shrink")

NARROW = {"layers": [2, 4], "heads": 2, "hidden": 8, "ffn": 0.5, "by": "fisher", "rows": 8}


def made(tiny: Tiny, **changes: Any) -> Any:
    recipe = tiny.recipe
    recipe["student"] = {"shrink": NARROW, **changes}
    return build.from_recipe(tiny.write(recipe))


def same(one: Any, other: Any) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(weight, theirs[name]) for name, weight in one.state_dict().items())


@pytest.mark.long
def test_importance_is_measured_on_rows_from_all_over_the_data(tiny: Tiny) -> None:
    run = made(tiny)
    task, teacher = run.task, run.start("teacher")
    rows = [int(batch["example_id"][0]) for batch in labelled.labelled(task, teacher, "", 8)]
    assert rows == [0, 8, 16, 24, 32, 40, 48, 56]
    assert [len(batch["labels"]) for batch in labelled.labelled(task, teacher, "", 8)] == [1] * 8
    assert [int(batch["example_id"][0]) for batch in labelled.labelled(task, teacher, "", 2, few=True)] == [0, 1]
    assert len(list(labelled.labelled(task, teacher, "", 1000))) == 64
    student, control = begin(run, "student", 1), begin(run, "control", 1)
    assert same(student, control)
    asked = {key: value for key, value in NARROW.items() if key != "rows"}
    assert same(student, shrink(teacher, **asked, examples=labelled.labelled(task, teacher, "", 8)))
    other = copy.deepcopy(teacher)  # as it ends, after a training of its own
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    trained = begin(run, "student", 1, teacher=other)
    assert same(trained, shrink(other, **asked, examples=labelled.labelled(task, other, "", 8)))


@pytest.mark.long
def test_a_loaded_student_of_fewer_words_is_measured_on_rows_in_its_own(tiny: Tiny) -> None:
    run = made(tiny)
    folder = str(tiny.folder / "teacher")
    loaded, words = load_model(folder, AutoModelForSequenceClassification), load_tokenizer(folder)
    student = trim(loaded, words, choose(words, [["film good bad"]], words=[]))
    assert labelled.has_words(run.task, student, "")
    rows = [row["input_ids"] for row in labelled.labelled(run.task, student, folder, 8)]
    assert int(torch.cat(rows, 1).max()) < student.config.vocab_size < loaded.config.vocab_size


def test_a_look_before_the_run_takes_few_rows(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, measured = list[int](), list[str]()
    original = shrinking.measure
    monkeypatch.setattr(shrinking, "measure", lambda *given: measured.append(given[2]) or original(*given))
    monkeypatch.setattr("textkd.config.student_block.labelled", lambda *given, **more: asked.append(given[3]) or
                        labelled.labelled(*given, **more))  # fmt: skip
    run = made(tiny)
    assert run.start("student").config.intermediate_size == 16
    assert asked == [2]
    student, control = begin(run, "student", 1), begin(run, "control", 1)
    assert asked == [2, 8, 8]
    assert len(measured) == 2  # for the look, and once for both
    assert same(student, control)
    assert student is not control


@pytest.mark.long
def test_a_head_that_has_learnt_nothing_measures_nothing(tiny: Tiny) -> None:
    folder = tiny.folder / "body"
    BertModel(make_teacher().config).save_pretrained(folder)
    made(tiny).task.processing(str(tiny.folder / "teacher")).save_pretrained(folder)
    run = made(tiny, **{"from": str(folder)})
    with pytest.raises(TextkdError, match="has not learnt the labels") as caught:
        run.start("student")
    assert [p.where for p in caught.value.problems] == ["shrink.by"]
    plain = {"heads": 2, "n_layers": 2}
    by_weights = made(tiny, **{"from": str(folder), "shrink": plain}).start("student")
    assert same(by_weights.bert, shrink(BertModel.from_pretrained(folder), heads=2, n_layers=2))
    with_rows = made(tiny, **{"from": str(folder), "shrink": {**plain, "by": "activation"}}).start("student")
    assert with_rows.config.hidden_size == 8


@pytest.mark.long
def test_lines_that_nobody_transcribed_measure_nothing(tmp_path: Path) -> None:
    save_teacher(tmp_path / "teacher")
    lines = write_lines(tmp_path / "lines.parquet", TRAIN | {"n": 8})
    task = {"name": "ocr", "train": {"path": str(lines), "unlabelled": True}, "eval": str(lines)}
    recipe = {"task": task, "teacher": {"path": str(tmp_path / "teacher")}, "pseudo": {}, "control": False,
              "matches": [{"tap": "labels"}], "training": {"output_dir": str(tmp_path / "run")}}  # fmt: skip

    def start(**more: Any) -> Any:
        block = {"shrink": {"decoder_ffn": 8, "encoder_heads": 1, **more}}
        return build.from_recipe(Tiny(tmp_path).write({**recipe, "student": block}))

    student, teacher = begin(start(), "student", 1), start().start("teacher")
    assert same(student, shrink(teacher, decoder_ffn=8, encoder_heads=1))
    for word, value in (("by", "activation"), ("rows", 8)):
        with pytest.raises(TextkdError) as caught:
            start(**{word: value}).start("student")
        assert [p.where for p in caught.value.problems] == [f"shrink.{word}"]


@pytest.mark.long
def test_a_whole_run_ends_in_a_plain_folder(tiny: Tiny) -> None:
    recipe = tiny.recipe
    recipe["student"] = {"shrink": NARROW}
    recipe["training"]["max_steps"] = 1
    result = build.from_recipe(tiny.write(recipe)).run()
    for name in ("student", "control"):
        folder = result.student.with_name(name)
        model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["mismatched_keys"]
        config = model.config
        sizes = config.num_hidden_layers, config.num_attention_heads, config.hidden_size, config.intermediate_size
        assert sizes == (2, 2, 8, 16)
    assert set(result.metrics) == {"teacher", "student", "control"}
