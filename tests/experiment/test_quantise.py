"""`quantise` of a recipe: who is on the int8 grid, in which stages; what is refused; a run whose int8 artifact answers
as its training's evaluations did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_lab import results
from tiny_lab import Tiny
from torch.nn import functional
from transformers import AutoModelForSequenceClassification

import textkd
from textkd import Match
from textkd.config.quantise_block import quantised_of
from textkd.config.schema import QuantiseBlock
from textkd.deploy.as_module import Exported
from textkd.experiment import describe, fingerprint
from textkd.experiment.distiller import Run
from textkd.experiment.grid_checks import name_problems
from textkd.experiment.plan import Experiment, Source
from textkd.experiment.shorthand import Common, Link, Teacher, chain, classic, cohort
from textkd.models.transforms.quantised import quantised
from textkd.training.on_grid import problems
from textkd.training.stages import Stage

SOURCE = Source(lambda models, seed: None)
TWO = (Stage([Match("hidden")], name="one"), Stage([Match("logits")], name="two"))
BIG = {"big": Teacher(SOURCE)}


def shape(kind: str, stages: tuple[Stage, ...] = TWO[:1]) -> Experiment:
    common = Common("x", None, {}, stages, len(stages) > 1)
    if kind == "chain":
        return chain(common, BIG, [Link(name, lambda before: SOURCE) for name in ("assistant", "small")], Path("kept"))
    return cohort(common, {"a": SOURCE, "b": SOURCE}) if kind == "cohort" else classic(common, BIG, SOURCE)


ON_GRID: list[tuple[Experiment, dict[str, Any], dict[str, list[tuple[str, ...]]]]] = [
    (shape("classic"), {}, {"student": [("student",)], "control": [("control",)]}),
    (shape("classic", TWO), {"scheme": "b"}, {"student": [("student",)] * 2, "control": [("control",)] * 2}),
    (shape("classic", TWO), {"scheme": "c"}, {"student": [(), ("student",)], "control": [(), ("control",)]}),
    (shape("chain"), {}, {"assistant": [()], "small": [("small",)], "control": [("control",)]}),
    (shape("cohort"), {}, {"cohort": [("a",)], "control": [("control",)]}),
    (shape("cohort", TWO), {"scheme": "a"}, {"cohort": [("a",)] * 2, "control": [("control",)] * 2}),
]


@pytest.mark.parametrize(("made", "block", "wanted"), ON_GRID)
def test_the_student_of_the_report_and_its_control(made: Experiment, block: Any, wanted: Any) -> None:
    found, wrong = quantised_of(QuantiseBlock(**block), made)
    assert wrong == []
    assert {one.name: [stage.quantised for stage in one.stages] for one in found.trainings} == wanted
    assert quantised_of(None, made) == (made, [])


REFUSED = [
    ("classic", {"weights": 4}, "weights"), ("classic", {"activations": 16}, "activations"),
    ("classic", {"scheme": "d"}, "scheme"), ("classic", {"scheme": "a"}, "scheme"),
    ("classic", {"scheme": "c"}, "scheme"), ("cohort", {"scheme": "b"}, "scheme"),
    ("cohort", {"scheme": "c"}, "scheme"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "block", "key"), REFUSED)
def test_a_scheme_that_does_not_fit_is_refused(kind: str, block: Any, key: str) -> None:
    (one,) = quantised_of(QuantiseBlock(**block), shape(kind))[1]
    assert one.where == f"quantise.{key}"
    assert one.fix


def test_what_a_training_on_the_grid_cannot_be() -> None:
    fine = {"bf16": True, "fp16": False, "torch_compile": False}
    assert problems(fine, [Match("logits")]) == []
    told = problems({"fp16": True, "fsdp": "full_shard"}, [Match("logits", fused=True)])
    assert [one.asked.removeprefix("quantise beside ") for one in told] == ["fp16: true", "fsdp", "fused: true"]


def test_python_says_it_by_stage_and_the_control_follows() -> None:
    stages = (TWO[0], replace(TWO[1], quantised=["student"]))
    made = classic(Common("x", None, {}, stages, True), BIG, SOURCE)
    assert [list(stage.quantised) for stage in made.training("control").stages] == [[], ["control"]]


@pytest.mark.parametrize(("names", "wrong"), [(["student"], 0), ("student", 1), (["studnet", "x"], 2), ((), 0)])
def test_names_that_python_gives(names: Any, wrong: int) -> None:
    found = name_problems(shape("classic").training("student"), Stage([], quantised=names))
    assert len(found) == wrong
    assert all(one.fix == "quantised=['student']" for one in found)


def test_a_node_on_the_grid_is_another_node_and_all_others_are_what_they_were() -> None:
    plain = shape("classic").training("student")
    on_grid = quantised_of(QuantiseBlock(), shape("classic"))[0].training("student")
    assert "quantised" not in repr(fingerprint._words(plain))
    assert fingerprint._stable(fingerprint._words(plain)) != fingerprint._stable(fingerprint._words(on_grid))


def recipe(tiny: Tiny, **more: Any) -> Run:
    values = {**tiny.recipe, "control": False, **more}
    values["training"] |= {"learning_rate": 5e-3}
    return textkd.from_recipe(tiny.write(values))


@pytest.mark.long
def test_the_int8_artifact_answers_as_the_training_evaluated(tiny: Tiny) -> None:
    made = recipe(tiny, quantise={"weights": 8}, artifacts=[{"format": "onnx", "int8": "dynamic", "name": "small"}])
    assert [row["learns"] for row in describe.table(made.setup, made.runner, timed=False)] == [
        "learns from teacher, on the int8 grid"
    ]
    made.run()
    run, output, data = tiny.folder / "run", made.task.output, made.data
    plain = AutoModelForSequenceClassification.from_pretrained(made.folder.model("student", 1)).eval()
    labels = torch.tensor(output.references(data.eval))
    floats = torch.tensor(output.predict(plain, data.eval, data.collator))
    with quantised([plain]):
        on_grid = torch.tensor(output.predict(plain, data.eval, data.collator))
    shipped = torch.tensor(output.predict(Exported(run / "artifacts" / "small", 1, True), data.eval, data.collator))
    size = float(shipped.abs().max())
    apart = (on_grid - shipped).abs().amax(-1) / size
    assert apart.median() < 1e-5
    assert (apart < 1e-4).float().mean() > 0.8  # the others fell on an edge of the grid
    assert ((floats - shipped).abs().amax(-1) / size).median() > 1e-3
    models = results(run)["models"]
    last = models["student"]["runs"][0]["history"][-1]["eval"]
    assert last["loss"] == pytest.approx(float(functional.cross_entropy(on_grid, labels)), rel=1e-5)
    assert last["accuracy"] == pytest.approx(models["small"]["runs"][0]["metrics"]["accuracy"], abs=1 / 32 + 1e-6)
    accuracy = float((floats.argmax(-1) == labels).float().mean())
    assert models["student"]["runs"][0]["metrics"]["accuracy"] == pytest.approx(accuracy)
    assert any("plain folder in float32" in told for told in results(run)["warnings"])


@pytest.mark.long
def test_a_teacher_and_its_student_on_the_grid_learn_together(tiny: Tiny) -> None:
    folder = str(tiny.folder / "teacher")
    students = {"student": {"from": folder, "shrink": {"layers": [2, 4]}}, "partner": {"path": folder}}
    joint = {"student": "student/logits", "teacher": "partner/logits", "loss": "apprentice", "target_gradient": True}
    values = {key: value for key, value in tiny.recipe.items() if key not in ("teacher", "student")}
    values |= {"cohort": {"students": students}, "matches": [joint], "quantise": {"scheme": "a"}, "control": False}
    made = textkd.from_recipe(tiny.write(values))
    before = {name: made.start(name).classifier.weight.detach().clone() for name in students}
    made.run()
    for name, weight in before.items():
        after = AutoModelForSequenceClassification.from_pretrained(made.folder.model(name, 1)).classifier.weight
        assert not torch.allclose(after, weight)
