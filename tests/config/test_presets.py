"""Named recipes of the field: what they expand to, changes and errors of them, and that each trains a tiny BERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import textkd as command
from graph_lab import begin, stages
from tiny_lab import Tiny, make_teacher, make_tokenizer

import textkd
from textkd import Match, Stage, TextkdError, wire
from textkd.cli.app import main
from textkd.config import build, presets, recipe_file
from textkd.experiment.distiller import Run
from textkd.objective.match_checks import check_words

NAMES = [row["preset"] for row in presets.rows()]
ASKED = {
    "hinton", "logit_matching", "fitnets", "attention_transfer", "fsp", "nst", "similarity_preserving", "distilbert",
    "pkd", "tinybert", "minilm", "minilmv2", "mobilebert", "dkd", "dist", "rkd", "pkt", "crd", "vid", "factor_transfer",
    "overhaul", "bert_emd", "alp_kd", "mgskd", "born_again", "textbrewer_t3",
}  # fmt: skip
# what a model 16 wide, or of other depth, needs
CHANGES = {"mgskd": ["preset.matches.0.options.heads=4", "preset.matches.1.options.heads=4"]}


def of(tiny: Tiny, preset: Any, **others: Any) -> Path:
    values = {key: value for key, value in tiny.recipe.items() if key != "matches"}
    return tiny.write(values | {"preset": preset, "control": False} | others)


def distiller(tiny: Tiny, name: str, *overrides: str) -> Run:
    if name != "textbrewer_t3":
        return build.from_recipe(of(tiny, name), [*CHANGES.get(name, []), *overrides])
    make_teacher(layers=12).save_pretrained(tiny.folder / "twelve")
    make_tokenizer().save_pretrained(tiny.folder / "twelve")
    student = {"shrink": {"layers": [4, 8, 12]}}
    file = of(tiny, name, teacher={"path": str(tiny.folder / "twelve")}, student=student)
    return build.from_recipe(file, overrides)


def two_steps(made: Run, stage: Stage, student: Any) -> list[float]:
    """The total loss of two steps of plain SGD."""
    batch = made.data.sample(8)
    wired = wire(student, made.start("teacher"), stage.matches, batch, rows=len(made.data.train))
    optimizer, totals = torch.optim.SGD(student.parameters(), lr=1e-4), []
    for progress in (0.5, 0.75):
        optimizer.zero_grad()
        total, _, _ = wired.loss(student, batch, progress)
        total.backward()
        assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)
        assert any(p.grad.abs().max() > 0 for p in student.parameters() if p.grad is not None)
        optimizer.step()
        totals.append(total.item())
    wired.close()
    return totals


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_teaches(tiny: Tiny, name: str) -> None:
    made = distiller(tiny, name)
    student = begin(made, "student", 1).train()
    for stage in stages(made):
        totals = two_steps(made, stage, student)
        assert all(0 < abs(total) < float("inf") for total in totals)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_to_the_report(tiny: Tiny, name: str) -> None:
    made = distiller(tiny, name, "training.max_steps=2")
    assert made.run().report.is_file()


@pytest.mark.long
def test_one_of_stages_runs_to_the_report(tiny: Tiny) -> None:
    made = build.from_recipe(of(tiny, "tinybert"), ["training.max_steps=2", "preset.stages.0.training={max_steps: 1}"])
    assert made.run().summary["student"]["metrics"]
    assert "preset" not in recipe_file.parse(made.experiment.recipe)


def test_the_names_of_the_field_are_there_with_their_sources() -> None:
    assert set(NAMES) >= ASKED
    for row in presets.rows():
        assert row["about"]
        assert "20" in row["source"], f"{row['preset']} names no year"


def test_the_same_as_written_out(tiny: Tiny) -> None:
    _, values = build.read(of(tiny, "hinton"))
    assert values["matches"] == [
        {"tap": "labels", "weight": 0.1}, {"tap": "logits", "temperature": 4, "weight": 0.9},
    ]  # fmt: skip
    assert "preset" not in values
    assert build.read(of(tiny, {"name": "hinton"}))[1] == values
    assert build.read(of(tiny, None, matches=values["matches"]))[1] == values


@pytest.mark.parametrize(
    ("block", "overrides"),
    [
        ({"name": "hinton", "matches.1.temperature": 8}, []),
        ("hinton", ["matches.1.temperature=8"]),
        ("hinton", ["preset.matches.1.temperature=8"]),
        ("dkd", ["preset=hinton", "preset.matches.1.temperature=8"]),
        ({"name": "dkd", "matches.1.temperature": 8}, ["preset.name=hinton"]),
        ({"name": "hinton", "matches.1.temperature": 3}, ["preset.matches.1.temperature=8"]),
        ({"name": "hinton", "matches.1.temperature": 3}, ["matches.1.temperature=8"]),
        (None, ["preset=hinton", "matches.1.temperature=8"]),
        (None, ["preset.name=hinton", "matches.1.temperature=8"]),
    ],
)
def test_changes(tiny: Tiny, block: Any, overrides: list[str]) -> None:
    read, values = build.read(of(tiny, block), overrides)
    assert [match["tap"] for match in values["matches"]] == ["labels", "logits"]
    assert values["matches"][1]["temperature"] == read.matches[1].temperature == 8
    assert presets.preset("hinton")["matches"][1].temperature == 4, "the preset itself changed"


@pytest.mark.parametrize(
    ("block", "others", "overrides", "said"),
    [
        ("hintn", {}, [], "nearest: hinton"),
        (3, {}, [], "no such preset"),
        ({"matches.0.weight": 1}, {}, [], "it has no name"),
        ("hinton", {"matches": [{"tap": "labels"}]}, [], "matches beside preset"),
        ("hinton", {"stages": [{"matches": []}]}, [], "keep one"),
        ({"name": "hinton", "weight": 1}, {}, [], "as matches.0.weight"),
        ({"name": "tinybert", "matches.0.weight": 1}, {}, [], "stages.0.matches.0.weight"),
        ({"name": "hinton", "matches.2.weight": 1}, {}, [], "not an index of a list of 2"),
        ({"name": "hinton", "matches.1.wieght": 1}, {}, [], "nearest: weight"),
        ("hinton", {}, ["preset.matches.1.weight"], "no `=`"),
        ("hinton", {}, ["matches.7.weight=1"], "not an index of a list of 2"),
    ],
)
def test_what_cannot_be(tiny: Tiny, block: Any, others: dict[str, Any], overrides: list[str], said: str) -> None:
    with pytest.raises(TextkdError, match=said) as alone:
        build.read(of(tiny, block, **others), overrides)
    with pytest.raises(TextkdError) as beside:  # neither hides nor makes another problem
        build.read(of(tiny, block, **others, seeds="x"), [*overrides, "max_length=y"])
    told = sorted((p.where, p.asked) for p in alone.value.problems)
    assert [one for one in sorted((p.where, p.asked) for p in beside.value.problems)
            if one[0] not in ("seeds", "max_length")] == told  # fmt: skip
    assert {"seeds", "max_length"} <= {p.where for p in beside.value.problems}


def test_every_wrong_change_is_told(tiny: Tiny) -> None:
    with pytest.raises(TextkdError) as caught:
        build.read(of(tiny, {"name": "hinton", "weight": 1, "stages.0.weight": 1}))
    assert len(caught.value.problems) == 2


def test_in_python() -> None:
    parts = textkd.preset("hinton", "matches.1.temperature=8")
    assert parts == {"matches": [
        Match("labels", weight=0.1), Match("logits", weight=0.9, temperature=8)]}  # fmt: skip
    stages = textkd.preset("tinybert")["stages"]
    assert [stage.name for stage in stages] == ["intermediate", "prediction"]
    assert stages[1].matches[0].loss == "soft_cross_entropy"
    for name in NAMES:
        for stage in presets.preset(name).get("stages") or [Stage(presets.preset(name)["matches"])]:
            check_words(stage.matches, "cross_entropy")
    with pytest.raises(TextkdError, match="nearest: weight"):
        textkd.preset("hinton", "matches.0.wight=1")
    with pytest.raises(TextkdError, match="no such preset"):
        textkd.preset("nobody")


def test_listed_printed_and_checked(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = command(capsys, monkeypatch, "ls", "presets")
    assert code == 0
    assert all(name in said for name in NAMES)
    assert "Jiao et al. 2020" in said
    monkeypatch.setattr("sys.argv", ["textkd", "ls", "presets", "pkd"])
    with pytest.raises(SystemExit):
        main()
    printed = recipe_file.parse(capsys.readouterr().out)
    assert build.read(of(tiny, None, **printed))[1] == build.read(of(tiny, "pkd"))[1]
    assert command(capsys, monkeypatch, "ls", "presets", "pdk")[0] == 2
    code, said = command(capsys, monkeypatch, "check", str(of(tiny, "pkd")))
    assert code == 0, said
    assert "the recipe is good" in said
