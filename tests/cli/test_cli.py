"""The `textkd` command: what it prints where, its exit codes, and a whole run from recipe to export."""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from rich.console import Console
from tiny_lab import Tiny, make_teacher, make_tokenizer
from transformers import AutoModelForSequenceClassification

from textkd.cli import app, say
from textkd.cli.for_good import for_good
from textkd.cli.say import as_blocks, needed


class Textkd:
    """Command lines in this process: `textkd("run", file)` -> (exit code, stdout, stderr)."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *words: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["textkd", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            app.main()
        printed = self.capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err


@pytest.fixture
def textkd(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Textkd:
    datasets.disable_progress_bars()  # as the command does, if datasets was not imported before it
    return Textkd(capsys, monkeypatch)


def test_from_recipe_to_export(tiny: Tiny, textkd: Textkd) -> None:
    file, run = tiny.write(tiny.recipe | {"about": "a tiny run: two seconds"}), tiny.folder / "run"
    code, out, err = textkd("run", file, "training.num_train_epochs=1")
    assert (code, out) == (0, ""), err
    lines = err.splitlines()
    assert lines[0] == "a tiny run: two seconds"
    assert "64 training and 32 evaluation examples" in lines[1], err
    assert lines[-2:] == [f"report: {run}/report.html", f"student: {run}/seed-1/student"]
    assert [line.split()[0] for line in lines[-5:-2]] == ["teacher", "student", "control"]

    code, _, err = textkd("run", file, "training.num_train_epochs=1")
    assert code == 0
    assert "this run is finished" in err
    assert f"report: {run}/report.html" in err

    (run / "report.html").unlink()
    code, _, err = textkd("report", run)
    assert (code, (run / "report.html").is_file()) == (0, True)

    code, _, err = textkd("export", run, tiny.folder / "small")
    assert code == 0, err
    assert AutoModelForSequenceClassification.from_pretrained(tiny.folder / "small").config.num_hidden_layers == 2
    code, _, err = textkd("export", run, tiny.folder / "small")
    assert code == 2
    assert textkd("export", run, tiny.folder / "small", "--overwrite")[0] == 0

    told = json.loads((run / "report.json").read_text())["student"]["metrics"]
    words = ("eval", tiny.folder / "small", "--task", "glue/sst2", "--file", tiny.folder / "data" / "dev.tsv")
    code, out, _ = textkd(*words, "--json")
    assert (code, json.loads(out)) == (0, pytest.approx(told))
    assert textkd(*words)[1] == f"accuracy: {told['accuracy']:.4f}\n"


@pytest.mark.slow
def test_eval_prints_one_json_line_and_nothing_else(tiny: Tiny) -> None:
    words = [
        "eval",
        tiny.folder / "teacher",
        "--task",
        "glue/sst2",
        "--file",
        tiny.folder / "data" / "dev.tsv",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "textkd", *map(str, words)], capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert set(json.loads(line)) == {"accuracy"}


def test_eval_of_a_text_task_with_the_labels_of_the_model(tiny: Tiny, textkd: Textkd) -> None:
    model = make_teacher()
    model.config.id2label, model.config.label2id = {0: "bad", 1: "good"}, {"bad": 0, "good": 1}
    model.save_pretrained(tiny.folder / "named")
    make_tokenizer().save_pretrained(tiny.folder / "named")
    file = tiny.folder / "own.csv"
    file.write_text("review,verdict\ngood film,good\nbad film,bad\ndull plot,bad\n")
    columns = ("text=review", "label=verdict")
    code, out, err = textkd("eval", tiny.folder / "named", "--task", "text", "--file", file, *columns, "--json")
    assert code == 0, err
    assert set(json.loads(out)) == {"accuracy", "f1_macro"}
    code, _, err = textkd("eval", tiny.folder / "named", "--task", "text", "--file", file)
    assert code == 2
    assert "column 'text'" in err


def test_check_says_the_plan_and_writes_nothing(tiny: Tiny, textkd: Textkd) -> None:
    values = tiny.recipe
    values["teacher"]["finetune"] = {"num_train_epochs": 1}
    file = tiny.write(values)
    before = {p for p in tiny.folder.rglob("*")}
    code, out, err = textkd("check", file)
    assert (code, out) == (0, "")
    assert "is fine-tuned first and kept" in err
    assert "the recipe is good" in err
    assert {p for p in tiny.folder.rglob("*")} == before


def test_lists(tiny: Tiny, textkd: Textkd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.folder)
    code, out, _ = textkd("ls", "losses")
    assert code == 0
    assert all(word in out for word in ("kl", "Hinton", "cross_entropy", "normalised_mse"))
    code, out, _ = textkd("ls", "taps", tiny.folder / "teacher")
    assert code == 0
    assert all(
        word in " ".join(out.split()) for word in ("hidden:4 [B, T, 16]", "logits [B, 2]", "attention:1 [B, 4, T, T]")
    )
    code, out, _ = textkd("ls", "recipes")
    assert code == 0
    assert {"quickstart", "ocr/quickstart"} <= {line.split()[0] for line in out.splitlines()}
    assert "about 5 minutes" in out


def test_recipes_here_are_listed_too_and_a_broken_one_does_no_harm(
    tmp_path: Path, textkd: Textkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text("# my own experiment\ntask: {name: text}\n")
    (tmp_path / "recipes" / "broken.yaml").write_text("task: [1")
    monkeypatch.chdir(tmp_path)
    _, out, _ = textkd("ls", "recipes")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "my own experiment" in lines["recipes/mine.yaml"]
    assert "broken YAML" in lines["recipes/broken.yaml"]


def test_help_and_version(textkd: Textkd) -> None:
    code, out, _ = textkd("--help")
    assert code == 0
    assert all(word in out for word in ("run", "check", "ls", "eval", "report", "export", "--version"))
    assert textkd("--version")[1].startswith("textkd 0.")
    for command in ("run", "check", "ls", "eval", "report", "export"):
        code, out, _ = textkd(command, "--help")
        assert code == 0
        assert "Usage" in out
    code, out, _ = textkd()
    assert code == 2
    assert "Usage" in out


def test_ctrl_c_ends_with_130(tiny: Tiny, textkd: Textkd, monkeypatch: pytest.MonkeyPatch) -> None:
    from textkd.experiment.distiller import Run

    def stopped(_: Run) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "run", stopped)
    code, _, err = textkd("run", tiny.write(tiny.recipe))
    assert code == 130
    assert "the same command goes on" in err


def test_a_defect_of_ours_keeps_its_traceback(tiny: Tiny, textkd: Textkd, monkeypatch: pytest.MonkeyPatch) -> None:
    from textkd.experiment.distiller import Run

    def broken(_: Run) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Run, "run", broken)
    monkeypatch.setattr(sys, "argv", ["textkd", "run", str(tiny.write(tiny.recipe))])
    with pytest.raises(ZeroDivisionError):
        app.main()


ROWS = [
    {"family": "logits", "name": "kl", "takes": "", "formula": "T^2 * KL(softmax(z_t / T) || softmax(z_s / T)) " * 3},
    {"family": "hidden", "name": "mse", "takes": "no word is cut", "formula": "mean of (h_s - h_t)^2"},
    {"family": "hidden", "name": "cos", "takes": "", "formula": "1 - cos(h_s, h_t)"},
]


def test_rows_too_wide_for_a_terminal_are_blocks() -> None:
    assert needed([{"a": "x" * 99, "b": "long enough"}]) == 28 + 2 + 11
    lines = as_blocks(ROWS, 60)
    assert max(map(len, lines)) <= 60
    assert lines[0] == "logits kl"
    assert lines[1].startswith("  formula: T^2 * KL(")  # an empty cell has no line
    assert " ".join(line.strip() for line in lines).count("softmax(z_t / T)") == 3
    assert lines[-7:] == [
        "hidden mse", "  takes: no word is cut", "  formula: mean of (h_s - h_t)^2", "",
        "hidden cos", "  formula: 1 - cos(h_s, h_t)", "",
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "is_table"), [(40, False), (100, True), (10_000, True)])
def test_a_terminal_gets_what_it_can_hold(
    width: int, is_table: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(say, "Console", lambda width=None, of=width: Console(width=of))
    say.show(ROWS)
    assert ("family" in capsys.readouterr().out) == is_table


def test_what_is_imported_for_good_is_not_collected() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(ImportError), for_good():
        importlib.import_module("textkd.no_such_room")
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
