"""Recipes whose targets a teacher writes: a recogniser in a file of its own, and what is told of a bad recipe."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from PIL import Image
from places import TESTS
from pseudo_lab import DECODER, ENCODER, SIZE, TRAINING

from textkd import TextkdError
from textkd.config import build
from textkd.models.onnx.file import weights
from textkd.tasks.ocr.processor import line_processor
from textkd.teachers import Recogniser

sys.path.append(str(TESTS / "teachers" / "generation"))
import tiny_onnx

COLOURS = {"a": (0, 255, 0), " ": (255, 0, 0), "-": (0, 0, 255)}


def coloured(folder: Path, name: str, texts: list[str]) -> str:
    """Lines that the tiny ONNX recogniser reads, as a parquet file."""
    found = []
    for text in texts:
        pixels = np.array([[COLOURS[letter] for letter in "-".join(text)]], np.uint8).repeat(48, 0).repeat(24, 1)
        image = io.BytesIO()
        Image.fromarray(pixels).save(image, "PNG")
        found.append({"image": {"bytes": image.getvalue(), "path": None}, "text": text})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(found), folder / name)
    return str(folder / name)


def write(folder: Path, **changes: Any) -> Path:
    train, dev = coloured(folder, "train.parquet", ["a", "aa", "a a", "aaa"]), coloured(folder, "dev.parquet", ["aaaa"])
    values = {
        "task": {"name": "ocr", "train": train, "eval": dev, **SIZE},
        "teacher": {"recogniser": str(tiny_onnx.make(folder / "tiny.onnx"))},
        "student": {"config": {"encoder": ENCODER, "decoder": DECODER}},
        "pseudo": {"min_confidence": 0.8},
        "training": {**TRAINING, "num_train_epochs": 1, "output_dir": str(folder / "run")},
        "seeds": [1],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**values, **changes}))
    return folder / "recipe.yaml"


@pytest.mark.long
def test_a_recipe_with_a_recogniser_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("onnxruntime")
    made = build.from_recipe(write(tmp_path, control=False))
    plan = "\n".join(made.plan())
    assert "Recogniser tiny.onnx reads 4 lines" in plan
    caplog.set_level(logging.INFO, "textkd")
    made.run()
    assert "shard 1 of 1 is read (4 lines)" in caplog.text
    teacher = json.loads((tmp_path / "run" / "report.json").read_text())["teacher"]
    assert teacher["metrics"]["cer"] == 0
    assert teacher["parameters"] == 1  # the tiny model has one weight
    assert teacher["disk_mb"] == pytest.approx((tmp_path / "tiny.onnx").stat().st_size / 1e6)
    assert list((tmp_path / "teachers").glob("pseudo-*"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder": 5}, "config.encoder: 5"),
        ({"decoder": {**DECODER, "decoder_layer": 2}}, "nearest: decoder_layers"),
        ({"decoder": {**DECODER, "vocab_size": 99}}, "the tokenizer's is"),
    ],
)
def test_a_bad_config_of_a_new_student_is_told(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    pytest.importorskip("onnxruntime")
    student = {"config": {"encoder": ENCODER, "decoder": DECODER, **change}}
    with pytest.raises(TextkdError, match=said) as caught:
        build.from_recipe(write(tmp_path, student=student)).check()
    assert len(caught.value.problems) == 1


def test_ids_of_the_tokenizer_may_be_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    size = len(line_processor(["a", "aa", "a a", "aaa"], **SIZE).tokenizer)
    named = {"encoder": ENCODER, "decoder": {**DECODER, "vocab_size": size}}
    build.from_recipe(write(tmp_path, student={"config": named})).check()


def test_weights_are_counted_without_the_package_onnx(tmp_path: Path) -> None:
    def tensor(kind: int, *dims: int, packed: bool = False) -> bytes:
        sizes = b"".join(tiny_onnx.varint(size) for size in dims)
        held = tiny_onnx.text(1, sizes) if packed else b"".join(tiny_onnx.number(1, size) for size in dims)
        return tiny_onnx.text(5, held + tiny_onnx.number(2, kind) + tiny_onnx.text(9, bytes(300)))

    graph = tensor(1, 300, 4) + tensor(10, 5, 6, packed=True) + tensor(7, 1000)  # float, half, and a shape
    (tmp_path / "model.onnx").write_bytes(tiny_onnx.number(1, 6) + tiny_onnx.text(7, graph))
    assert weights(tmp_path / "model.onnx") == 1200 + 30
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "model.onnx").read_bytes()[:-50])
    assert weights(tmp_path / "cut.onnx") is None
    assert weights(tmp_path / "none.onnx") is None


def problems(file: Path) -> dict[str, str]:
    """What is wrong with a recipe by its place."""
    with pytest.raises(TextkdError) as error:
        build.from_recipe(file).check()
    return {one.where: str(one) for one in error.value.problems}


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    wrong = {"mix": 1.5, "max_cer": -1, "change": "uper"}
    told = problems(write(tmp_path, pseudo={**wrong, "min_confidense": 0.9}))
    assert set(told) == {"pseudo.min_confidense"}  # a key: told alone, in the first round
    assert "nearest: min_confidence" in told["pseudo.min_confidense"]
    file = write(
        tmp_path,
        teacher={"recogniser": str(tmp_path / "tiny.onx")},
        student={"shrink": {"encoder_layers": 1}},
        matches=[{"tap": "labels"}, {"tap": "encoder.hidden"}, {"tap": "logits"}],
        pseudo=wrong,
    )
    found = problems(file)
    assert "nearest: upper" in found.pop("pseudo.change")
    assert "nearest: tiny.onnx" in found.pop("teacher.recogniser")
    assert "no blocks to take" in found.pop("student.shrink")
    assert "nothing inside it can be read" in found.pop("matches[1].tap")
    assert "the teacher's logits" in found.pop("matches[2].tap")
    assert set(found) == {"pseudo.mix", "pseudo.max_cer"}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"pseudo": None}, "pseudo", "add pseudo"),
        ({"pseudo": {"lines": "none.parquet"}}, "pseudo.lines", "data file none.parquet"),
        ({"pseudo": {"lines": {"digits": {"n": 4}}, "mix": 0.5}}, "pseudo.mix", "beside lines"),
        ({"pseudo": {"lines": {"digits": {"n": 4}}, "max_cer": 0.5}}, "pseudo.max_cer", "no transcription"),
        ({"student": {"config": {"encodr": {}}}}, "student.config", "nearest: encoder"),
        ({"student": {"config": {"encoder": {**ENCODER, "image_size": [16, 32]}}}}, "student", "images of 16 x 32"),
        ({"task": {"name": "text", "train": "x.tsv", "eval": "x.tsv"}}, "pseudo", "no lines of text"),
    ],
)
def test_one_thing_that_is_wrong_is_told_where_it_is(tmp_path: Path, changes: Any, where: str, said: str) -> None:
    assert said in problems(write(tmp_path, **changes))[where]


def test_a_recogniser_has_no_other_keys(tmp_path: Path) -> None:
    file = write(tmp_path)
    values = yaml.safe_load(file.read_text())
    values["teacher"] |= {"path": "folder", "finetune": {"num_train_epochs": 1}}
    file.write_text(yaml.safe_dump(values))
    assert {"teacher.path", "teacher.finetune"} <= set(problems(file))


def test_without_transcriptions_there_is_no_control(tmp_path: Path) -> None:
    file = write(tmp_path)
    values = yaml.safe_load(file.read_text())
    line_processor(["a a"], **SIZE).save_pretrained(tmp_path / "processor")
    values["task"] = {
        **{key: values["task"][key] for key in ("name", "eval")},
        "processor": str(tmp_path / "processor"),
    }
    values["task"]["train"] = {"path": str(tmp_path / "train.parquet"), "unlabelled": True}
    file.write_text(yaml.safe_dump(values))
    assert "no train line has a transcription" in problems(file)["control"]
    values["control"] = False
    file.write_text(yaml.safe_dump(values))
    build.from_recipe(file).check()


@pytest.mark.long
def test_a_vocabulary_of_the_task_beside_what_a_teacher_writes_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    values = yaml.safe_load(file.read_text())
    values["student"]["vocabulary"] = "task"
    file.write_text(yaml.safe_dump(values))
    assert "in pieces that nobody knows" in problems(file)["student.vocabulary"]


def test_a_missing_onnxruntime_is_told_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'textkd[ppocr]'" in problems(file)["teacher.recogniser"]


def test_a_recogniser_reads_prepared_images_as_it_reads_any(tmp_path: Path) -> None:
    reader = Recogniser(tiny_onnx.make(tmp_path / "tiny.onnx"), batch_size=2, threads=1)
    coloured(tmp_path, "lines.parquet", ["a", "a aa", "aaa"])
    images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
              for row in pyarrow.parquet.read_table(tmp_path / "lines.parquet").to_pylist()]  # fmt: skip
    assert reader.prepared(images)() == reader.read(images)
