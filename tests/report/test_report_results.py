"""results.json: what is accepted, what is refused and how, and the numbers of report.json against an own computing."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fakes import alone, plain, results, run

from textkd.errors import TextkdError
from textkd.report import build, load, save, summary
from textkd.report.public import kept
from textkd.report.results import Results


def test_saved_results_load_as_they_were(tmp_path):
    before = results()
    save(tmp_path, before)
    assert load(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json"]


def test_a_plain_json_file_is_accepted(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(plain(100)))
    loaded = load(tmp_path)
    assert loaded.layer_maps[0].pairs == [(0, 0), (1, 2), (2, 4), (3, 6)]
    assert loaded.models["student"].runs[0].history[0].step == 10


def test_summary_is_computed_over_the_runs():
    asked, data = results(), plain(600)
    got = summary(asked)
    for role in ("teacher", "student", "control"):
        runs = data["models"][role]["runs"]
        for name in ("accuracy", "f1"):
            values = np.array([r["metrics"][name] for r in runs])
            assert got[role]["metrics"][name] == pytest.approx(values.mean(), abs=1e-12)
            spread = pytest.approx(values.std(ddof=1), abs=1e-12) if len(values) > 1 else None
            assert got[role]["spread"][name] == spread
    student = np.mean([r["metrics"]["accuracy"] for r in data["models"]["student"]["runs"]])
    assert got["kept"] == pytest.approx(student / 0.9128, abs=1e-12)
    named = {"teacher", "student", "control"}
    assert set(got) == {"task", "seeds", *named, "models", "compare", "kept", "main_metric", "versions"}
    assert {name: got[name] for name in named} == got["models"]
    asked_keys = {"metrics", "spread", "parameters", "disk_mb", "latency_ms", "samples_per_s", "train_s", "peak_mb"}
    assert set(got["student"]) == asked_keys
    assert got["teacher"]["train_s"] is None
    assert got["teacher"]["peak_mb"] is None


def test_costs_are_the_mean_time_and_the_largest_peak():
    data = plain(100)
    for i, one in enumerate(data["models"]["student"]["runs"]):
        one["train_s"], one["peak_mb"] = 10.0 * (i + 1), 100.0 + i
    got = summary(Results.model_validate(data))["student"]
    assert (got["train_s"], got["peak_mb"]) == (20.0, 102.0)


def test_without_control_or_with_one_seed():
    data = alone()
    data["models"]["student"]["runs"] = data["models"]["student"]["runs"][:1]
    got = summary(Results.model_validate(data))
    assert "control" not in got
    assert got["student"]["spread"] == {"accuracy": None, "f1": None}


@pytest.mark.parametrize(("teacher", "expected"), [(0.0, None), (math.nan, None), (0.5, 1.0)])
def test_kept_of_a_teacher_of_nothing_is_none(teacher, expected):
    data = plain(100)
    data["models"]["teacher"]["runs"] = [run(None, teacher, None)]
    data["models"]["student"]["runs"] = [run(1, 0.5)]
    assert kept(Results.model_validate(data)) == expected


def test_a_metric_that_is_not_a_number_is_null_for_other_programs(tmp_path):
    data = plain(100)
    data["models"]["student"]["runs"][0]["metrics"]["f1"] = math.nan
    data["models"]["student"]["runs"][0]["history"][0]["loss"] = math.nan
    save(tmp_path, Results.model_validate(data))
    build(tmp_path)
    public = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert public["student"]["metrics"]["f1"] is None
    assert public["student"]["spread"]["f1"] is None
    assert "not a number" in (tmp_path / "report.html").read_text()


def broken(**changes: Any) -> dict[str, Any]:
    return {**plain(100), **changes}


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (broken(extra=1), "extra"),
        (broken(seeds=["1"]), "seeds.0"),
        (broken(seeds=[]), "seeds"),
        (broken(main_metric="mcc"), "mcc"),
        (broken(models={}), "models"),
        (broken(models={f"m{i}": plain(100)["models"]["student"] for i in range(25)}), "models"),
        (broken(compare={"student": "pupil"}), "no pupil, which is compared as the student"),
        (broken(compare={"student": "student", "teacher": "big"}), "no big, which is compared as the teacher"),
        (broken(models={name: plain(100)["models"][name] for name in ("teacher", "student")}), "no control"),
        (broken(disagreements={"examples": [{"text_a": "t", "label": "l", "said": {"pupil": "l"}}]}), "pupil"),
        (broken(layer_maps=[{**plain(100)["layer_maps"][0], "pairs": [[4, 2]]}]), "does not exist"),
        (broken(hardware={"cpu": "x"}), "hardware.cores"),
    ],
)
def test_damage_is_named(tmp_path, data, where):
    (tmp_path / "results.json").write_text(json.dumps(data))
    with pytest.raises(TextkdError, match="damaged") as caught:
        load(tmp_path)
    assert where in str(caught.value)


def test_runs_with_different_metrics_are_damage(tmp_path):
    data = plain(100)
    del data["models"]["control"]["runs"][1]["metrics"]["f1"]
    (tmp_path / "results.json").write_text(json.dumps(data))
    with pytest.raises(TextkdError, match="do not all have the same metrics"):
        load(tmp_path)


def test_all_damage_is_told_at_once(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(broken(extra=1, recipe=3)))
    with pytest.raises(TextkdError) as caught:
        load(tmp_path)
    assert {problem.where for problem in caught.value.problems} == {"extra", "recipe"}


def test_half_a_file_is_damaged_and_no_file_is_not_finished(tmp_path):
    with pytest.raises(TextkdError, match="not finished"):
        build(tmp_path)
    save(tmp_path, results())
    path = tmp_path / "results.json"
    path.write_text(path.read_text()[:500])
    with pytest.raises(TextkdError, match="damaged"):
        build(tmp_path)
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(TextkdError, match="no such folder"):
        load(tmp_path / "nowhere")


def test_a_save_is_written_beside_and_renamed(tmp_path, monkeypatch):
    renamed, rename = [], os.replace

    def spy(source: Path, target: Path) -> None:
        renamed.append((source.parent, target, Results.model_validate_json(source.read_bytes()).name))
        assert not target.exists()
        rename(source, target)

    monkeypatch.setattr("os.replace", spy)
    save(tmp_path, results(name="new"))
    assert renamed == [(tmp_path, tmp_path / "results.json", "new")]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    save(tmp_path, results(name="old"))

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        save(tmp_path, results(name="new"))
    assert load(tmp_path).name == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
