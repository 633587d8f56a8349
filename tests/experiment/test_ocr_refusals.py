"""Bad input for readers through the entry point: one message, exit code 2, nothing written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ocr_lab import EVAL, HEIGHT, WIDTH, Reading, make_reader, processor, save_teacher, write_lines

from textkd.cli import app
from textkd.models.students import fit_image_size
from textkd.tasks.ocr.processor import line_processor

Change = Callable[[dict[str, Any], Path], None]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, a processor of another size, lines, and files that are none."""
    folder = tmp_path_factory.mktemp("ocr")
    save_teacher(folder / "teacher")
    line_processor(["0123456789"], height=HEIGHT, width=2 * WIDTH).save_pretrained(folder / "wide")
    write_lines(folder / "lines.parquet", EVAL)
    return folder


def said_by(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str]:
    """(exit code, everything printed) of a command line, in this process."""
    monkeypatch.setattr(sys, "argv", ["textkd", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), " ".join((printed.out + printed.err).split())


def _is_plain(value: Any) -> bool:
    """Whether it is as it was once it went through JSON, whose keys are texts."""
    return bool(json.loads(json.dumps(value)) == value)


def put(path: str, value: Any) -> Change:
    """Sets a value in the recipe; SHARED in a text stands for the folder of shared files."""

    def change(recipe: dict[str, Any], shared: Path) -> None:
        *parents, last = (int(p) if p.isdigit() else p for p in path.split("."))
        at: Any = recipe
        for name in parents:
            at = at[name]
        at[last] = json.loads(json.dumps(value).replace("SHARED", str(shared))) if _is_plain(value) else value

    return change


def made(*changes: Change) -> Change:
    """A recipe that makes its teacher, changed."""

    def change(recipe: dict[str, Any], shared: Path) -> None:
        new = Reading(shared).recipe
        recipe["teacher"], recipe["task"] = new["teacher"], new["task"]
        for one in changes:
            one(recipe, shared)

    return change


def without(*path: str) -> Change:
    def change(recipe: dict[str, Any], _: Path) -> None:
        at: Any = recipe
        for name in path[:-1]:
            at = at[name]
        del at[path[-1]]

    return change


def sharing(tap: str) -> Change:
    def change(recipe: dict[str, Any], _: Path) -> None:
        recipe["student"] = {"shrink": {"decoder_layers": 1}, "share_encoder": True}
        recipe["matches"] = [{"tap": "labels"}, {"tap": tap}]

    return change


ENCODER, DECODER = "teacher.config.encoder", "teacher.config.decoder"
CROSS = put("matches.1", {"student": "encoder.cross_attention:1", "teacher": "decoder.cross_attention:1"})
RECIPES: dict[str, tuple[Change, list[str]]] = {
    # lines
    "no file": (put("task.train", "SHARED/line.parquet"), ["task.train: asked", "nearest: lines.parquet"]),
    "a column": (put("task.train", {"path": "SHARED", "text": "words"}), ["task"]),
    "kind of lines": (put("task.train", {"digitz": {}}), ["task", "nearest: digits"]),
    "option of digits": (put("task.train.digits.hight", 16), ["task.train.digits.hight", "nearest: height"]),
    "split of digits": (put("task.eval.digits.split", "test"), ["task.eval.digits.split", "fix: split: train or eval"]),
    "too many digits": (put("task.train.digits.digits", [17, 18]), ["task: asked: texts of at most 16 tokens"]),
    "no lines": (without("task", "eval"), ["task", "eval"]),
    "task option": (put("task.augmnt", True), ["task.augmnt", "nearest: augment"]),
    "generation": (put("task.generation", {"num_beam": 2}), ["task", "num_beam", "nearest: num_beams"]),
    # processor
    "no processor": (put("task.processor", "SHARED/nowhere"), ["processor", "nowhere"]),
    "another image size": (put("task.processor", "SHARED/wide"), ["teacher", "16 x 64", "16 x 128", "processor"]),
    # a teacher from a config
    "not fine-tuned": (made(without("teacher", "finetune")), ["teacher.config", "random weights", "finetune"]),
    "config and path": (made(put("teacher.path", "SHARED/teacher")), ["teacher.config", "both are given"]),
    "encoder field": (made(put(f"{ENCODER}.num_hidden_layer", 4)), ["teacher", "nearest: num_hidden_layers"]),
    "decoder field": (made(put(f"{DECODER}.decoder_layer", 4)), ["teacher", "nearest: decoder_layers"]),
    "side": (made(put("teacher.config.encodr", {})), ["teacher", "encodr"]),
    "patches": (made(put(f"{ENCODER}.patch_size", [HEIGHT, 7])), ["teacher", "patch"]),
    "size of the config": (made(put(f"{ENCODER}.image_size", [32, 64])), ["teacher", "32 x 64", "16 x 64"]),
    "finetune key": (made(put("teacher.finetune.epochs", 1)), ["teacher.finetune.epochs"]),
    # students
    "encoder block": (put("student.shrink.encoder_layers", [2, 5]), ["student.shrink.encoder_layers:", "4 blocks"]),
    "decoder blocks": (put("student.shrink.decoder_layers", 3), ["student.shrink.decoder_layers:", "2 blocks", "3"]),
    "plain layers": (put("student.shrink", {"layers": [1, 2]}), ["student.shrink.layers:", "encoder_layers"]),
    "shared and shrunk": (put("student.share_encoder", True), ["student.share_encoder", "encoder_layers"]),
    "shared and matched": (sharing("encoder.hidden:2"), ["matches", "encoder.hidden:2", "share_encoder"]),
    "shared module": (sharing("module:encoder.layers.1"), ["matches", "module:encoder.layers.1", "share_encoder"]),
    "another size": (
        put("student", {"config": {"encoder": {"image_size": [32, 64]}}}),
        ["student", "16", "32"],
    ),
    # matches
    "no side": (put("matches.0.tap", "hidden"), ["matches[0].tap", "encoder.hidden", "decoder.hidden"]),
    "side without": (CROSS, ["matches[1].student", "without cross-attention"]),
    "student block": (put("matches.1.layers", {2: 2}), ["matches[1]", "has 1 blocks"]),
    "teacher block": (put("matches.1.layers", {1: 3}), ["matches[1]", "has 2 blocks"]),
    # numbers
    "too few positions": (
        put("student", {"config": {"decoder": {"max_position_embeddings": 3}}}),
        ["task: asked: texts of at most 3 tokens", "fix: task.skip_long: true leaves them out"],
    ),
    "length": (put("max_length", 17), ["max_length: 17", "16 positions", "4 to 16"]),
    "best by": (put("training.metric_for_best_model", "cerr"), ["metric_for_best_model", "nearest: cer"]),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), RECIPES.values(), ids=RECIPES)
def test_a_bad_recipe(
    change: Change,
    words: list[str],
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading = Reading(tmp_path, shared / "teacher")
    recipe = reading.recipe
    change(recipe, shared)
    file = reading.write(recipe)
    code, said = said_by(capsys, monkeypatch, "run", file)
    assert code == 2, said
    assert "problems" not in said.split("asked:")[0], f"more than the one problem: {said}"
    assert [word for word in ["asked: ", "found: ", *words] if word not in said] == [], said
    assert list(tmp_path.iterdir()) == [file]


LOST = put("task.train", "SHARED/line.parquet")
SEVERAL: dict[str, tuple[Change, list[str]]] = {
    "file, side, block": (
        made(LOST, put(f"{DECODER}.decoder_layer", 4), put("matches.1.layers", {2: 2})),
        ["2 problems", "task.train: asked", "teacher.config.decoder: asked", "nearest: decoder_layers"],
    ),
    "file, block": (made(LOST, put("matches.1.layers", {2: 2})), ["2 problems", "task.train: asked", "has 1 blocks"]),
    "eval, block": (  # the train lines give the tokens: they fit
        made(put("task.eval", "SHARED/line.parquet"), put("matches.1.layers", {2: 2})),
        ["2 problems", "task.eval: asked", "has 1 blocks"],
    ),
    "file, student of tokens of its own": (
        made(LOST, put("student", {"path": "SHARED/teacher"}), put("matches.0.loss", "mze")),
        ["2 problems", "task.train: asked", "nearest: mse"],
    ),
    "option, block": (
        made(put("task.augmnt", True), put("matches.1.layers", {2: 2})),
        ["2 problems", "task.augmnt", "has 1 blocks"],
    ),
    "shape, block": (
        made(put("task.tokenizer", "chars"), put("matches.1.layers", {2: 2})),
        ["2 problems", "task.tokenizer: asked: tokenizer 'chars'", "has 1 blocks"],
    ),
}


@pytest.mark.parametrize(("change", "words"), SEVERAL.values(), ids=SEVERAL)
def test_what_is_wrong_beside_a_bad_task_is_told_with_it_and_nothing_twice(
    change: Change,
    words: list[str],
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = Reading(tmp_path).recipe
    change(recipe, shared)
    code, said = said_by(capsys, monkeypatch, "check", Reading(tmp_path).write(recipe))
    assert code == 2, said
    assert [word for word in words if word not in said] == [], said


COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "no file": (["--file", "SHARED/line.parquet"], ["line.parquet", "nearest: lines.parquet"]),
    "no column": (["--file", "SHARED/lines.parquet", "text=words"], ["column 'words'", "'text'"]),
    "no images": (["--file", "SHARED/lines.parquet", "image=scan"], ["column 'scan'", "'image'"]),
    "beams": (["--file", "SHARED/lines.parquet", "num_beams=0"], ["num_beams", "from 1"]),
    "long": (["--file", "SHARED/lines.parquet", "--max-length", "17"], ["max_length 17", "16 positions"]),
}


@pytest.mark.long
@pytest.mark.parametrize(("words", "due"), COMMANDS.values(), ids=COMMANDS)
def test_a_bad_evaluation(
    words: list[str],
    due: list[str],
    shared: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = [word.replace("SHARED", str(shared)) for word in words]
    code, said = said_by(capsys, monkeypatch, "eval", shared / "teacher", "--task", "ocr", *given)
    assert code == 2, said
    assert [word for word in ["asked: ", "found: ", *due] if word not in said] == [], said


def test_a_model_whose_processor_is_anothers(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_teacher(tmp_path / "model")
    line_processor(["0123456789abc"], height=HEIGHT, width=2 * WIDTH).save_pretrained(folder)
    words = "eval", folder, "--task", "ocr", "--file", shared / "lines.parquet"
    code, said = said_by(capsys, monkeypatch, *words)
    assert code == 2, said
    assert "2 problems" in said
    assert "16 x 128" in said
    assert "19 tokens with ids up to 18, the decoder 16 rows" in said


@pytest.mark.long
def test_a_student_that_takes_other_images_or_has_no_pad_token(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = make_reader(seed=1)
    reader.config.pad_token_id = reader.generation_config.pad_token_id = reader.config.decoder.pad_token_id = None
    fit_image_size(reader, (HEIGHT, 2 * WIDTH)).save_pretrained(tmp_path / "student")
    recipe = {**Reading(tmp_path, shared / "teacher").recipe, "student": {"path": str(tmp_path / "student")}}
    code, said = said_by(capsys, monkeypatch, "check", Reading(tmp_path).write(recipe))
    assert code == 2, said
    assert "2 problems" in said
    assert "student: asked: images of 16 x 128" in said
    assert "student: asked: a pad_token_id of the model" in said


@pytest.mark.long
def test_notes_are_told_before_a_run_and_beside_an_evaluation(
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_lines(tmp_path / "long.parquet", {**EVAL, "digits": [9, 9]})
    reading = Reading(tmp_path, shared / "teacher")
    recipe = {**reading.recipe, "task": {**reading.recipe["task"], "eval": str(tmp_path / "long.parquet")}}
    code, said = said_by(capsys, monkeypatch, "check", reading.write(recipe))
    assert code == 0, said
    assert "note: ocr eval: 12 of 12 lines looked at" in said
    cli_words = "eval", shared / "teacher", "--task", "ocr", "--file", tmp_path / "long.parquet", "--json"
    code, said = said_by(capsys, monkeypatch, *cli_words)
    assert code == 0, said
    assert "they are shrunk, to" in said + caplog.text


@pytest.mark.long
def test_the_table_starts_from_good_recipes(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for reading in (Reading(tmp_path, shared / "teacher"), Reading(tmp_path)):
        file = reading.write(reading.recipe)
        code, said = said_by(capsys, monkeypatch, "check", file)
        assert code == 0, said
        assert list(tmp_path.iterdir()) == [file]
    assert json.loads((shared / "teacher" / "config.json").read_text())["decoder"]["vocab_size"] == len(
        processor().tokenizer
    )
