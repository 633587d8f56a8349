"""A teacher of lines that is trained in stages, by losses that need no teacher; what may not be there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drive import textkd
from ocr_lab import Reading
from tiny_lab import Tiny

from textkd import TextkdError
from textkd.config import build

LETTERS = {"tap": "encoder.hidden:-1", "loss": "ctc"}
LOOK = {"tap": "decoder.cross_attention:1", "loss": "guided"}
STAGES = [
    {"name": "letters", "matches": [LETTERS], "frozen": ["decoder"], "training": {"eval_strategy": "no"}},
    {"name": "lines", "matches": [{"tap": "labels"}, LOOK, {**LETTERS, "options": {"marked": 0}}]},
]


def problems(reading: Reading, values: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(reading.write(values)).check()
    return {problem.where: str(problem) for problem in caught.value.problems}


@pytest.mark.long
def test_stages_teach_the_teacher_and_the_control_keeps_what_needs_none(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    values = reading.recipe
    values["teacher"]["finetune"]["stages"] = STAGES
    letters = {**LETTERS, "tap": "encoder.hidden:2", "weight": 0.5}
    values["matches"] = [{"tap": "logits"}, {"tap": "labels"}, letters, LOOK]
    ended = textkd("run", reading.write(values), folder=tmp_path)
    assert ended.code == 0, ended.said
    (kept,) = (tmp_path / "teachers").glob("*/textkd.json")
    history = json.loads(kept.read_text())["history"]
    assert [set(row["parts"]) for row in history if "parts" in row] == [
        {"encoder.hidden:4/ctc"},
        {"labels/cross_entropy", "decoder.cross_attention:1/guided", "encoder.hidden:4/ctc"},
    ]  # fmt: skip
    assert not [name for name in kept.parent.glob("*.safetensors") if b"ctc" in name.read_bytes()]
    models = json.loads((tmp_path / "run" / "results.json").read_text())["models"]
    parts = {who: set(models[who]["runs"][0]["history"][0]["parts"]) for who in ("student", "control")}
    own = {"labels/cross_entropy", "encoder.hidden:2/ctc", "decoder.cross_attention:1/guided"}
    assert parts == {"student": {"logits/kl", *own}, "control": own}


@pytest.mark.long
def test_a_teacher_that_is_trained_first_has_no_teacher_of_its_own(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    values = reading.recipe
    wrong = [{"tap": "logits"}, {"tap": "encoder.hidden:9", "loss": "ctc"}, {"tap": "encoder.hidden", "loss": "ctc"}]
    values["teacher"]["finetune"]["stages"] = [
        {"matches": [{"tap": "labels"}]},
        {"matches": wrong, "frozen": ["decoda"]},
    ]
    found = problems(reading, values)
    at = "teacher.finetune.stages[1]"
    assert set(found) == {f"{at}.frozen", f"{at}.matches[0]", f"{at}.matches[1].tap", f"{at}.matches[2].tap"}
    assert "there is no teacher" in found[f"{at}.matches[0]"]
    assert "no block number" in found[f"{at}.matches[2].tap"]


@pytest.mark.long
@pytest.mark.parametrize("bad", ["nothing", "task", "data", "student"])
def test_a_misspelt_loss_is_told_whatever_else_is_wrong(bad: str, tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    values = reading.recipe
    values["teacher"]["finetune"]["stages"] = [{"matches": [{**LETTERS, "loss": "ctcc"}]}, STAGES[1]]
    values["task"]["name"] = "ocrr" if bad == "task" else "ocr"
    values["student"] = {"shrink": {"encoder_layers": 99}} if bad == "student" else values["student"]
    if bad == "data":
        values["task"]["train"] = "nothere.parquet"
    found = problems(reading, values)
    assert "nearest: ctc" in found["teacher.finetune.stages[0].matches[0].loss"]


def test_a_text_teachers_stages_are_looked_at_without_a_task(tiny: Tiny) -> None:
    values = tiny.recipe
    values["task"] = {"name": "gluee", "subset": "sst2"}
    values["teacher"]["finetune"] = {"matches": [{"tap": "lables"}]}
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(tiny.write(values)).check()
    assert {"task.name", "teacher.finetune.matches[0].tap"} <= {problem.where for problem in caught.value.problems}


@pytest.mark.long
def test_matches_beside_stages_and_misspelt_keys_inside(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    values = reading.recipe
    values["teacher"]["finetune"] |= {"stages": STAGES, "matches": [LETTERS]}
    assert set(problems(reading, values)) == {"teacher.finetune.matches"}
    values["teacher"]["finetune"] = {"matches": [{**LETTERS, "los": "x"}], "num_train_epoch": 1}
    assert set(problems(reading, values)) == {"teacher.finetune.matches[0].los"}  # a key of ours: the first round
    values["teacher"]["finetune"]["matches"] = [LETTERS]
    assert set(problems(reading, values)) == {"teacher.finetune.num_train_epoch"}  # an argument: the second
    values["teacher"]["finetune"] = {"stages": [{"match": []}]}
    assert {"teacher.finetune.stages[0].match", "teacher.finetune.stages[0].matches"} <= set(problems(reading, values))


def test_a_loss_without_a_teacher_takes_one_tap(tmp_path: Path) -> None:
    reading = Reading(tmp_path)
    values = reading.recipe
    values["matches"] = [
        {"tap": "labels"}, {"student": "encoder.hidden:2", "teacher": "encoder.hidden:4", "loss": "ctc"}
    ]  # fmt: skip
    assert "ctc needs no teacher" in problems(reading, values)["matches[1].teacher"]
