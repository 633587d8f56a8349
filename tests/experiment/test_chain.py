"""Teacher assistants: each student of a chain teaches the next, and those in between are kept for other runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from command_line import inside, textkd
from graph_lab import count_trainings, home, results, short
from tiny_lab import Tiny
from transformers import AutoModelForSequenceClassification

from textkd.config import build

LINKS = [
    {"name": "assistant", "student": {"shrink": {"layers": [1, 2, 4]}}, "training": {"learning_rate": 5e-4}},
    {"name": "student", "student": {"shrink": {"layers": [1, 3]}}},
]


def recipe(tiny: Tiny, **words: Any) -> dict[str, Any]:
    return short(tiny, "student", **{"chain": LINKS} | words)


def test_a_chain_ends_in_a_report_of_all_links(tiny: Tiny) -> None:
    result = build.from_recipe(tiny.write(recipe(tiny))).run()
    found = results(tiny.folder / "run")
    assert list(found["models"]) == ["teacher", "assistant", "student", "control"]
    assert found["compare"] == {"student": "student", "teacher": "teacher", "control": "control"}
    taught = {name: row["taught_by"] for name, row in found["models"].items()}
    assert taught == {"teacher": [], "assistant": ["teacher"], "student": ["assistant"], "control": []}
    blocks = {name: row["architecture"].split()[1].partition("x")[0] for name, row in found["models"].items()}
    assert blocks == {"teacher": "4", "assistant": "3", "student": "2", "control": "2"}
    assert result.student == tiny.folder / "run" / "seed-1" / "student"
    assert AutoModelForSequenceClassification.from_pretrained(result.student).config.num_hidden_layers == 2
    maps = {(row["source"], row["target"]): row["pairs"] for row in found["layer_maps"]}
    assert set(maps) == {("assistant", "teacher"), ("student", "assistant")}
    assert [list(pair) for pair in maps["student", "assistant"]][-1] == [2, 3]
    assert set(result.metrics) == set(found["models"])
    for name, row in found["models"].items():
        assert row["runs"][0]["metrics"]["accuracy"] == result.metrics[name]["accuracy"]


@pytest.mark.long
def test_an_assistant_is_kept_and_made_once(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where nothing else is taken from other runs."""
    made = build.from_recipe(tiny.write(recipe(tiny)))
    made.run()
    kept = home(made, "assistant", 1)
    assert kept.parent == tiny.folder / "teachers"
    assert (kept / "model.safetensors").is_file()
    trained = count_trainings(monkeypatch)
    again = recipe(tiny, control=False)
    again["chain"] = [LINKS[0], {**LINKS[1], "student": {"shrink": {"layers": [3]}}}]
    again["training"]["output_dir"] = str(tiny.folder / "other")
    build.from_recipe(tiny.write(again)).run()
    assert trained == ["student"]
    again["chain"][0] = {**LINKS[0], "training": {"learning_rate": 4e-4}}
    again["training"]["output_dir"] = str(tiny.folder / "third")
    build.from_recipe(tiny.write(again)).run()
    assert trained == ["student", "assistant", "student"]


@pytest.mark.long
def test_a_link_has_matches_and_arguments_of_its_own(tiny: Tiny) -> None:
    first = {**LINKS[0], "matches": [{"tap": "labels"}], "training": {"max_steps": 3}}
    made = build.from_recipe(tiny.write(recipe(tiny, chain=[first, LINKS[1]])))
    made.run()
    runs = {name: row["runs"][0] for name, row in results(tiny.folder / "run")["models"].items()}
    assert [runs[name]["steps"] for name in ("assistant", "student", "control")] == [3, 2, 2]
    parts = {name: set(next(row for row in runs[name]["history"] if "parts" in row)["parts"]) for name in runs
             if name != "teacher"}  # fmt: skip
    assert parts["assistant"] == parts["control"] == {"labels/cross_entropy"}
    assert "logits/kl" in parts["student"]


@pytest.mark.long
def test_textkd_plan_prints_the_graph_and_writes_nothing(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tiny.write(recipe(tiny)))
    before = inside(tiny.folder)
    code, said = textkd(capsys, monkeypatch, "plan", file, "--no-time")
    assert code == 0, said
    assert inside(tiny.folder) == before
    rows = ["assistant, seed 1 made of teacher learns from teacher to do 2",
            "student, seed 1 made of assistant learns from assistant to do 2",
            "control, seed 1 made of assistant learns from labels to do 2"]  # fmt: skip
    places = [said.find(row) for row in rows]
    assert -1 not in places, said
    assert places == sorted(places)
    assert f"student, seed 1: {tiny.folder / 'run' / 'seed-1' / 'student'}" in said
    assert "likely:" not in said
    build.from_recipe(file).run()
    code, said = textkd(capsys, monkeypatch, "plan", file, "--no-time")
    assert code == 0, said
    assert said.count(" done 2") == 3, said


@pytest.mark.long
def test_textkd_plan_says_how_long_it_will_take(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tiny.write(recipe(tiny)))
    before = inside(tiny.folder)
    code, said = textkd(capsys, monkeypatch, "plan", file)
    assert code == 0, said
    assert len(re.findall(r" to do 2 \d+ s ", said)) == 3, said
    assert "likely: the steps alone" in said
    assert inside(tiny.folder) == before


@pytest.mark.long
def test_a_link_reads_the_words_of_a_trimmed_one_that_it_is_made_of(tiny: Tiny) -> None:
    student = {"shrink": {"layers": [1, 2, 4]}, "vocabulary": {"keep": 15}}
    links = [{**LINKS[0], "student": student}, LINKS[1]]
    matches = [{"tap": "logits", "loss": "kl"}]
    build.from_recipe(tiny.write(recipe(tiny, chain=links, matches=matches, control=False))).run()
    last = AutoModelForSequenceClassification.from_pretrained(tiny.folder / "run" / "seed-1" / "student")
    assert last.config.vocab_size == 15


@pytest.mark.long
def test_the_words_of_a_link_that_lies_in_no_folder_yet_are_those_of_the_teacher(tiny: Tiny) -> None:
    links = [LINKS[0], {**LINKS[1], "student": {"shrink": {"layers": [1]}, "vocabulary": {"keep": 15}}}]
    matches = [{"tap": "logits", "loss": "kl"}]
    build.from_recipe(tiny.write(recipe(tiny, chain=links, matches=matches, control=False))).run()
    last = AutoModelForSequenceClassification.from_pretrained(tiny.folder / "run" / "seed-1" / "student")
    assert last.config.vocab_size == 15
