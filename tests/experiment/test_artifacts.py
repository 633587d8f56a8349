"""`artifacts:` of a recipe: exported, measured, shown; a gate; a finished run makes what is asked for now, no more."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_lab import Tiny

import textkd
from textkd import deploy
from textkd.deploy.artifact import Artifact
from textkd.deploy.as_module import Exported
from textkd.errors import TextkdError
from textkd.experiment.artifacts import refusal
from textkd.experiment.evaluate import evaluate


def asking(tiny: Tiny, *artifacts: dict[str, object]) -> textkd.Distiller:
    return textkd.from_recipe(tiny.write({**tiny.recipe, "control": False, "artifacts": list(artifacts)}))


@pytest.mark.long
def test_a_run_ships_what_is_asked_for(
    tiny: Tiny, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny.folder / "run"
    asking(tiny, {"format": "onnx"}).run()
    out = run / "artifacts" / "student-onnx"
    results = json.loads((run / "results.json").read_text())
    row, student = results["models"]["student-onnx"], results["models"]["student"]
    assert row["runtime"].startswith("onnxruntime")
    assert row["runs"][0]["metrics"] == student["runs"][0]["metrics"]
    assert row["parameters"] == pytest.approx(student["parameters"], rel=0.02)
    assert "artifacts:" in results["recipe"]
    assert "deploy.load" in (out / "README.md").read_text()
    metrics = evaluate(str(out), "glue/sst2", tiny.folder / "data" / "dev.tsv")
    assert metrics["accuracy"] == pytest.approx(row["runs"][0]["metrics"]["accuracy"])
    assert deploy.load(out).predict(["a good film"])[0]["label"] in ("negative", "positive", "0", "1")
    with pytest.raises(TextkdError, match="BertForSequenceClassification"):
        evaluate(str(out), "tokens", tiny.folder / "data" / "dev.tsv")

    made, weights = (out / "model.onnx").stat().st_mtime_ns, run / "seed-1" / "student" / "model.safetensors"
    trained = weights.stat().st_mtime_ns
    with caplog.at_level(logging.INFO, "textkd"):  # an artifact more: nothing is trained, the first one stays
        asking(tiny, {"format": "onnx"}, {"format": "onnx", "int8": "dynamic", "name": "small"}).run()
    assert (out / "model.onnx").stat().st_mtime_ns == made
    assert weights.stat().st_mtime_ns == trained
    assert list(json.loads((run / "results.json").read_text())["models"]) == [
        "teacher", "student", "student-onnx", "small",
    ]  # fmt: skip
    asking(tiny, {"format": "onnx"}).run()  # the one that is not asked for any more stays, and the report says so
    results = json.loads((run / "results.json").read_text())
    assert "artifacts/small is of an earlier recipe: this report is not about it" in results["warnings"]
    assert list(results["models"]) == ["teacher", "student", "student-onnx"]
    forward = Exported.forward

    @wraps(forward)
    def turned(*given: object, **named: object) -> dict[str, object]:
        return {"logits": -forward(*given, **named)["logits"]}

    monkeypatch.setattr(Exported, "forward", turned)
    shutil.rmtree(out)  # it is made again, by one whose answers are turned round
    with caplog.at_level(logging.INFO, "textkd"):
        asking(tiny, {"format": "onnx", "keep": 1.0}).run()
    (told,) = (line for line in caplog.messages if "was not written" in line)
    assert "right answers are lost: " in told
    results = json.loads((run / "results.json").read_text())
    assert told in results["warnings"]
    assert list(results["models"]) == ["teacher", "student"]
    assert not out.exists()

    def stopped(*given: object, **named: object) -> dict[str, object]:
        assert not out.exists()  # what is not judged yet is not at its place
        raise KeyboardInterrupt

    monkeypatch.setattr(Exported, "forward", wraps(forward)(stopped))
    with pytest.raises(KeyboardInterrupt):
        asking(tiny, {"format": "onnx"}).run()
    assert not out.exists()


GATES = [(0.86, 0.95, True, True), (0.85, 0.95, True, False), (0.105, 0.95, False, True), (0.11, 0.95, False, False)]


@pytest.mark.parametrize(("here", "keep", "greater", "kept"), GATES)
def test_the_gate_holds_metrics_that_rise_and_that_fall(here: float, keep: float, greater: bool, kept: bool) -> None:
    """0.855 is 0.95 of 0.9; an error of 0.1 may become 0.1053."""
    output = SimpleNamespace(main_metric="m", greater_is_better=greater)
    whole = SimpleNamespace(record={"metrics": {"m": 0.9 if greater else 0.1}})
    told = refusal(output, Artifact("small", "student", keep=keep), {"metrics": {"m": here}, "lost": "3 rows"}, whole)
    assert (told == "") is kept
    assert kept or told.endswith("; 3 rows")


BAD: dict[str, Any] = {
    "format: tflite": ({"format": "tflite"}, "artifacts[0].format"),
    "no format": ({"int8": "dynamic"}, "artifacts[0].format"),
    "int8: yes": ({"format": "onnx", "int8": "yes"}, "artifacts[0].int8"),
    "rows beside dynamic": ({"format": "onnx", "int8": "dynamic", "rows": 9}, "artifacts[0].rows"),
    "rows: 0": ({"format": "onnx", "int8": "static", "rows": 0}, "artifacts[0].rows"),
    "keep: 1.5": ({"format": "onnx", "keep": 1.5}, "artifacts[0].keep"),
    "keep: 0": ({"format": "onnx", "keep": 0}, "artifacts[0].keep"),
    "of nobody": ({"format": "onnx", "of": "studnet"}, "artifacts[0].of"),
    "of a given teacher": ({"format": "onnx", "of": "teacher"}, "artifacts[0].of", "textkd export FOLDER"),
    "named as a model": ({"format": "onnx", "name": "student"}, "artifacts[0].name"),
    "named as a path": ({"format": "onnx", "name": "../x"}, "artifacts[0].name"),
    "named with a line end": ({"format": "onnx", "name": "a\nb"}, "artifacts[0].name"),
    "named with a blank at its end": ({"format": "onnx", "name": "a "}, "artifacts[0].name"),
    "keep: a text": ({"format": "onnx", "keep": "much"}, "artifacts[0].keep", "give a number, as 0.99"),
    "another key": ({"format": "onnx", "bits": 8}, "artifacts[0].bits"),
}


@pytest.mark.long
def test_what_cannot_be_exported_is_told_before_anything_is_trained(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    distiller = asking(tiny, {"format": "onnx"}, {"format": "onnx", "int8": "dynamic"})
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(TextkdError, match="onnxscript not installed") as told:
        distiller.check()
    assert [one.where for one in told.value.problems] == ["artifacts[0]", "artifacts[1]"]
    assert not Path(tiny.folder, "run").exists()


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_told_with_its_place(tiny: Tiny, what: str) -> None:
    block, where, *said = BAD[what]
    with pytest.raises(TextkdError) as told:
        asking(tiny, block)
    assert [one.where for one in told.value.problems] == [where]
    assert all(words in str(told.value) for words in said)
    assert not Path(tiny.folder, "run").exists()
