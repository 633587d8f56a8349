"""Deep mutual learning: students that teach each other in one training, from a recipe to the report."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from command_line import inside, textkd
from graph_lab import begin, count_trainings, results, short
from safetensors.torch import load_file
from second_proofs import but_few
from tiny_lab import Tiny

from textkd.config import build

SHRINK = {"shrink": {"layers": [2, 4]}}


def recipe(tiny: Tiny, cohort: dict[str, Any], *without: str, **words: Any) -> dict[str, Any]:
    """Without a teacher: the students are made of a pretrained model that teaches nothing."""
    student = SHRINK | {"from": str(tiny.folder / "teacher")}
    return short(tiny, "teacher", "matches", *without, **{"cohort": cohort, "student": student} | words)


@pytest.mark.long
@pytest.mark.parametrize("update", but_few(["together", "in_turn"], "together"))
def test_a_cohort_ends_in_a_report_of_all_peers(tiny: Tiny, update: str) -> None:
    made = build.from_recipe(tiny.write(recipe(tiny, {"size": 2, "update": update})))
    result = made.run()
    found = results(tiny.folder / "run")
    assert list(found["models"]) == ["peer_1", "peer_2", "control"]
    assert found["compare"] == {"student": "peer_1", "teacher": None, "control": "control"}
    taught = {name: row["taught_by"] for name, row in found["models"].items()}
    assert taught == {"peer_1": ["peer_2"], "peer_2": ["peer_1"], "control": []}
    assert set(result.metrics) == set(found["models"])
    assert result.student == tiny.folder / "run" / "seed-1" / "peer_1"
    weights = {name: load_file(tiny.folder / "run" / "seed-1" / name / "model.safetensors") for name in found["models"]}
    assert weights["peer_1"].keys() == weights["peer_2"].keys() == weights["control"].keys()
    assert not any(torch.equal(weights["peer_1"]["classifier.weight"], weights[name]["classifier.weight"])
                   for name in ("peer_2", "control"))  # fmt: skip
    assert {row["steps"] for name in found["models"] for row in found["models"][name]["runs"]} == {2}


def test_peers_do_not_begin_alike_and_the_control_begins_as_the_first(tiny: Tiny) -> None:
    student = {"config": {"num_hidden_layers": 1, "hidden_size": 8}, "from": str(tiny.folder / "teacher")}
    made = build.from_recipe(tiny.write(recipe(tiny, {"size": 2}, student=student)))
    heads = {name: begin(made, name, 1).classifier.weight for name in ("peer_1", "peer_2", "control")}
    assert torch.equal(heads["peer_1"], heads["control"])
    assert not torch.equal(heads["peer_1"], heads["peer_2"])


@pytest.mark.long
def test_students_of_their_own_beside_a_teacher(tiny: Tiny) -> None:
    """Their matches name the peers and the teacher."""
    matches = [
        {"tap": "labels"},
        {"student": "half/logits", "teacher": "large/logits", "loss": "kl"},
        {"student": "half/hidden:1", "teacher": "teacher/hidden:4"},
    ]
    students = {"large": {"shrink": {"layers": [1, 2, 4]}}, "half": {"shrink": {"layers": [4]}}}
    values = short(tiny, "student", matches=matches, cohort={"students": students})
    build.from_recipe(tiny.write(values)).run()
    found = results(tiny.folder / "run")
    assert list(found["models"]) == ["teacher", "large", "half", "control"]
    taught = {name: row["taught_by"] for name, row in found["models"].items()}  # large learns from labels alone
    assert taught == {"teacher": [], "large": [], "half": ["teacher", "large"], "control": []}
    assert found["compare"]["student"] == "large"
    blocks = {name: row["architecture"].split()[1].partition("x")[0] for name, row in found["models"].items()}
    assert blocks == {"teacher": "4", "large": "3", "half": "1", "control": "3"}


@pytest.mark.long
def test_one_node_holds_all_peers(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tiny.write(recipe(tiny, {"size": 3, "update": "in_turn"})))
    before = inside(tiny.folder)
    code, said = textkd(capsys, monkeypatch, "plan", file, "--no-time")
    assert code == 0, said
    assert "cohort, seed 1" in said
    assert "peer_1, peer_2, peer_3 learn in turn to do 2" in said
    assert inside(tiny.folder) == before
    trained = count_trainings(monkeypatch)
    build.from_recipe(file).run()
    assert trained == ["cohort", "control"]
    (tiny.folder / "run" / "results.json").unlink()
    build.from_recipe(file).run()
    assert trained == ["cohort", "control"]
