"""The whole way on a tiny model: recipe in, report out, and what may not happen on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from graph_lab import begin
from second_proofs import but_few
from tiny_lab import Tiny, make_teacher, make_tokenizer
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification

from textkd import Distiller, Match, report, tasks
from textkd.config import build
from textkd.deploy.export import student_folder
from textkd.experiment.finetune import without_teacher
from textkd.experiment.finished import RECORD


@pytest.mark.compat
@pytest.mark.usefixtures("whole_pictures")
@pytest.mark.parametrize("seeds", but_few([1, 2], 1))
def test_a_recipe_ends_in_a_report_and_plain_folders(tiny: Tiny, seeds: int) -> None:
    values = tiny.recipe
    values["seeds"] = list(range(seeds))
    values["teacher"]["finetune"] = {"num_train_epochs": 1, "learning_rate": 1e-3}
    result = build.from_recipe(tiny.write(values)).run()
    summary = json.loads((tiny.folder / "run" / "report.json").read_text())
    assert summary["task"] == "glue/sst2"
    assert summary["seeds"] == list(range(seeds))
    assert summary["kept"] == pytest.approx(
        summary["student"]["metrics"]["accuracy"] / summary["teacher"]["metrics"]["accuracy"]
    )
    assert {"metrics", "spread", "parameters", "disk_mb", "latency_ms", "samples_per_s", "train_s", "peak_mb"} <= set(
        summary["control"]
    )
    student = AutoModelForSequenceClassification.from_pretrained(result.student)
    assert student.config.num_hidden_layers == 2
    assert not any("textkd" in name for name in student.state_dict())
    assert (tiny.folder / "run" / "report.html").stat().st_size > 10_000
    assert not list((tiny.folder / "run").rglob("checkpoint-*"))


def test_student_and_control_start_from_the_same_weights(tiny: Tiny) -> None:
    one = build.from_recipe(tiny.write(tiny.recipe))
    a, b = (begin(one, name, 1).state_dict() for name in ("student", "control"))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.long
def test_a_finished_run_reproduces_its_report(tiny: Tiny) -> None:
    file = tiny.write(tiny.recipe)
    build.from_recipe(file).run()
    before = {
        name: (tiny.folder / "run" / name).read_bytes() for name in ("report.json", "report.html", "results.json")
    }
    build.from_recipe(file).run()
    assert {name: (tiny.folder / "run" / name).read_bytes() for name in before} == before


@pytest.mark.long
def test_a_control_may_have_a_learning_rate_and_a_dropout_of_its_own(tiny: Tiny) -> None:
    values = tiny.recipe
    values["control"] = {"learning_rate": 5e-4, "dropout": 0.2}
    values["training"]["dropout"] = 0.0
    build.from_recipe(tiny.write(values)).run()
    control = json.loads((tiny.folder / "run" / "results.json").read_text())["models"]["control"]
    student = json.loads((tiny.folder / "run" / "results.json").read_text())["models"]["student"]
    assert "learning_rate 0.0005, dropout 0.2" in control["description"]
    assert control["runs"][0]["steps"] == student["runs"][0]["steps"]


@pytest.mark.long
def test_a_random_student_is_warned_about_in_the_report(tiny: Tiny) -> None:
    values = tiny.recipe
    values["student"] = {"config": {"num_hidden_layers": 1, "hidden_size": 8}}
    values["control"] = False
    build.from_recipe(tiny.write(values)).run()
    warnings = json.loads((tiny.folder / "run" / "results.json").read_text())["warnings"]
    assert any("random" in text for text in warnings)


LABELS, KL, CTC = Match("labels", weight=0.2), Match("logits"), Match("encoder.hidden:1", loss="ctc")


@pytest.mark.parametrize(
    ("matches", "left"),
    [([KL], ["labels"]), ([KL, LABELS], ["labels"]), ([KL, CTC], ["labels", "encoder.hidden:1"]),
     ([LABELS, KL, CTC], ["labels", "encoder.hidden:1"])],
)  # fmt: skip
def test_a_control_always_learns_the_labels(matches: list[Match], left: list[str]) -> None:
    assert [match.tap for match in without_teacher(matches)] == left


@pytest.mark.slow
def test_a_model_of_before_an_evaluation_was_asked_for_is_evaluated_once_more(tiny: Tiny) -> None:
    """As those of MNLI of before its mismatched set was reported."""
    values = tiny.recipe | {"control": False}
    values["teacher"]["finetune"] = {"num_train_epochs": 1, "learning_rate": 1e-3}
    result = build.from_recipe(tiny.write(values)).run()
    (teacher,) = (tiny.folder / "teachers").glob("*-seed1")
    expected = {}
    for folder in (teacher, result.student):
        record = json.loads((folder / RECORD).read_text())
        expected[folder] = record["metrics"]
        (folder / RECORD).write_text(json.dumps({**record, "metrics": {}}))
    (tiny.folder / "run" / "results.json").unlink()
    again = build.from_recipe(tiny.write(values)).run()
    assert again.metrics == result.metrics
    assert {folder: json.loads((folder / RECORD).read_text())["metrics"] for folder in expected} == expected


def constant(model: BertForSequenceClassification) -> BertForSequenceClassification:
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([3.0, -3.0]))
    return model


@pytest.mark.long
def test_one_answer_for_all_rows_is_told_of_the_model_that_gives_it(tiny: Tiny) -> None:
    """Also where the results are gathered by a process that evaluated nothing."""
    values = tiny.recipe | {"student": {"path": str(tiny.folder / "dull")}, "control": False}
    constant(make_teacher(2)).save_pretrained(tiny.folder / "dull")
    values["matches"], values["training"]["learning_rate"] = [{"tap": "labels"}], 1e-9
    for _ in range(2):
        build.from_recipe(tiny.write(values)).run()
        results = json.loads((tiny.folder / "run" / "results.json").read_text())
        assert "glue/sst2 eval: all 32 predictions were 0 (the student)" in results["warnings"]
        (tiny.folder / "run" / "results.json").unlink()


@pytest.mark.long
def test_a_teacher_of_another_kind_is_measured_like_the_others(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16, with another attention, in a pickle."""
    teacher = BertForSequenceClassification.from_pretrained(tiny.folder / "teacher", attn_implementation="eager")
    (tiny.folder / "old").mkdir()
    torch.save(teacher.state_dict(), tiny.folder / "old" / "pytorch_model.bin")
    teacher.config.save_pretrained(tiny.folder / "old")
    make_tokenizer().save_pretrained(tiny.folder / "old")
    teacher.name_or_path = str(tiny.folder / "old")
    timed = {}
    original = report.measure_speed

    def seen(models: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        timed.update({role: model.config._attn_implementation for role, model in models.items()})
        return original(models, *args, **kwargs)

    monkeypatch.setattr(report, "measure_speed", seen)
    task = tasks.glue("sst2", path=tiny.folder / "data")
    args = {"max_steps": 2, "output_dir": str(tiny.folder / "run")}
    student = make_teacher(4).bfloat16()
    Distiller(teacher.bfloat16(), student, task, [Match("labels")], args, control=False).run()
    summary = json.loads((tiny.folder / "run" / "report.json").read_text())
    assert timed == {"teacher": "sdpa", "student": "sdpa"}
    assert teacher.config._attn_implementation == "eager"
    assert summary["teacher"]["disk_mb"] == pytest.approx(2 * summary["teacher"]["parameters"] / 1e6, rel=0.02)


def test_tied_weights_count_once() -> None:
    tied = torch.nn.Sequential(torch.nn.Linear(100, 100, bias=False), torch.nn.Linear(100, 100, bias=False))
    assert report.weights_mb(tied) == pytest.approx(0.08)
    tied[1].weight = tied[0].weight
    assert report.weights_mb(tied) == pytest.approx(0.04)
    assert report.weights_mb(tied.bfloat16()) == pytest.approx(0.02)


@pytest.mark.long
def test_a_run_is_finished_when_everything_is_written(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> str:
        raise KeyboardInterrupt

    file = tiny.write(tiny.recipe | {"control": False})
    with monkeypatch.context() as broken:
        broken.setattr(report, "model_card", killed)
        with pytest.raises(KeyboardInterrupt):
            build.from_recipe(file).run()
    result = build.from_recipe(file).run()
    assert (result.student / "README.md").is_file()


@pytest.mark.long
def test_a_single_teacher_has_no_spread_and_the_first_seed_is_exported(tiny: Tiny) -> None:
    values = tiny.recipe | {"control": False, "seeds": [3, 1]}
    result = build.from_recipe(tiny.write(values)).run()
    assert result.summary["teacher"]["spread"]["accuracy"] is None
    assert result.summary["student"]["spread"]["accuracy"] is not None
    assert student_folder(tiny.folder / "run") == result.student == tiny.folder / "run" / "seed-3" / "student"
