"""results.json of the first edition (three models by fixed names) still loads, means the same and is not changed."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from textkd.errors import TextkdError
from textkd.report import build, first_edition, load, save
from textkd.report.headline import headline
from textkd.report.results import Results

FOLDER = Path(__file__).parent / "first_edition"
HEADLINES = {
    "text": "The student keeps 98.5% of the teacher's accuracy with 77% of its parameters and is "
    "1.91\N{MULTIPLICATION SIGN} as fast. Without a teacher the same student reaches 0.8784 instead of 0.8991.",
    "lines": "The student reaches CER 0.0520 (lower is better), +0.0119 over the teacher's 0.0401, with 48% of its "
    "parameters and is 2.16\N{MULTIPLICATION SIGN} as fast. Without a teacher the same student reaches 0.0710 instead "
    "of 0.0520 (+0.0309 over the teacher's).",
}


def old(name: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def run_folder(tmp_path: Path, data: dict[str, Any]) -> Path:
    (tmp_path / "results.json").write_text(json.dumps(data), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", HEADLINES)
def test_a_file_of_before_loads_and_its_page_says_the_same(tmp_path, name):
    folder = run_folder(tmp_path, old(name))
    results = load(folder)
    assert headline(results) == HEADLINES[name]
    assert results.compare.model_dump() == {"student": "student", "teacher": "teacher", "control": "control"}
    assert results.top_teachers == ["teacher"]
    build(folder)
    public = json.loads((folder / "report.json").read_text())
    assert public["student"] == public["models"]["student"]
    save(folder, results)
    assert load(folder) == results
    written = json.loads((folder / "results.json").read_text())
    assert written["compare"]["teacher"] == "teacher"
    assert written["models"]["student"]["taught_by"] == ["teacher"]


def test_examples_lines_counts_and_maps_are_by_model():
    text, lines = (Results.model_validate(old(name)) for name in ("text", "lines"))
    assert text.disagreements is not None
    assert text.disagreements.examples[0].said == {"teacher": "positive", "student": "negative", "control": "negative"}
    assert text.disagreements.examples[0].sure == {"teacher": 0.97, "student": 0.64}
    assert text.disagreements.counts is not None
    assert text.disagreements.counts.only_reference == 35
    first = text.layer_maps[0]
    assert (first.source, first.target, first.source_blocks, first.target_blocks) == ("student", "teacher", 3, 6)
    for line, before in zip(lines.gallery, old("lines")["gallery"], strict=True):
        assert line.said == {name: before[name] for name in ("teacher", "student", "control")}


def test_the_errors_of_before_still_fall():
    lines, text = (Results.model_validate(old(name)) for name in ("lines", "text"))
    assert lines.falling == ["cer", "wer"]
    assert [lines.lower_is_better(metric) for metric in ("cer", "wer", "exact")] == [True, True, False]
    assert text.falling == []
    data = old("text")
    for model in data["models"].values():
        for run in model["runs"]:
            run["metrics"]["further_loss"] = 0.5
    assert Results.model_validate(data).falling == ["further_loss"]


def test_nothing_is_changed_in_place_and_todays_words_stay():
    data = old("lines")
    before = deepcopy(data)
    new = Results.model_validate(data)
    assert data == before
    told = new.model_dump(exclude_unset=True)
    assert Results.model_validate(told) == new
    falling = {**told, "falling": ["exact"]}
    assert Results.model_validate(falling).falling == ["exact"]


@pytest.mark.parametrize("damage", [3, [], "x", None])
def test_damage_is_left_for_the_validation_to_tell(tmp_path, damage):
    for function in ("results", "layer_map", "counts", "example", "line"):
        assert getattr(first_edition, function)(damage) == damage
    with pytest.raises(TextkdError, match="damaged"):
        load(run_folder(tmp_path, {**old("text"), "models": damage}))
    with pytest.raises(TextkdError, match="damaged"):
        load(run_folder(tmp_path, {**old("text"), "models": {"student": damage, "teacher": damage}}))
