"""`~` in a path of a recipe, of the command line and of Python means the home folder, and nothing else than it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import inside, textkd
from ocr_lab import EVAL, TRAIN, Reading, save_teacher, write_lines
from tiny_lab import Tiny, sentences, write_tsv

from textkd import Distiller, Match, from_recipe, tasks
from textkd.errors import HIDDEN, TextkdError, scrub
from textkd.experiment.storage import folder_of
from textkd.models.files import at_home
from textkd.models.model_files import resolve_path
from textkd.models.students.spec import check_spec
from textkd.tasks.data.sources import load_split
from textkd.tasks.ocr.sources import lines
from textkd.teachers import CacheOptions, Recogniser
from textkd.training.arguments import make_arguments


@pytest.fixture
def home(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder: the one with teacher and data; the current folder is an empty one beside it."""
    monkeypatch.setenv("HOME", str(tiny.folder))
    here = tiny.folder / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return tiny.folder


@pytest.mark.long
def test_a_run(home: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe | {
        "task": {"name": "glue", "subset": "sst2", "path": "~/data"},
        "teacher": {"path": "~/teacher", "keep": "~/kept", "cache": {"folder": "~/taps"},
                    "finetune": {"num_train_epochs": 1, "per_device_train_batch_size": 8}},
        "student": {"path": "~/teacher"}, "control": False,
    }  # fmt: skip
    recipe["training"] |= {"num_train_epochs": 1, "output_dir": "~/deep/run"}
    recipe["matches"].pop()
    tiny.write(recipe)
    code, said = textkd(capsys, monkeypatch, "run", "~/tiny.yaml")
    assert code == 0, said
    assert inside(home / "here") == set()
    assert (home / "deep" / "run" / "report.html").is_file()
    assert len(list((home / "kept").glob("glue-sst2-*/model.safetensors"))) == 1
    assert list((home / "taps").iterdir())
    assert not list(home.rglob("~*"))
    written = yaml.safe_load(json.loads((home / "deep" / "run" / "run.json").read_text())["recipe"])
    assert written["task"]["path"] == "~/data"  # as it was written: another home is no other run
    for words in (("run", "~/tiny.yaml"), ("report", "~/deep/run"), ("export", "~/deep/run", "~/out"),
                  ("ls", "taps", "~/out"),
                  ("eval", "~/out", "--task", "glue/sst2", "--file", "~/data/dev.tsv")):  # fmt: skip
        code, said = textkd(capsys, monkeypatch, *words)
        assert code == 0, said
    assert (home / "out" / "config.json").is_file()
    assert inside(home / "here") == set()


@pytest.mark.long
def test_lines_of_text(home: Path) -> None:
    save_teacher(home / "reader")
    for name, options in (("train", TRAIN), ("more", TRAIN | {"seed": 5}), ("eval", EVAL), ("extra", EVAL)):
        write_lines(home / f"{name}.parquet", options)
    recipe: dict[str, Any] = Reading(home, home / "reader").recipe
    recipe["teacher"]["path"] = "~/reader"
    recipe["task"] = {
        "name": "ocr", "train": ["~/train.parquet"], "eval": {"path": "~/eval.parquet"}, "processor": "~/reader",
        "extra_evals": {"more": "~/extra.parquet"},
    }  # fmt: skip
    recipe["pseudo"] = {"lines": "~/more.parquet"}
    recipe["training"]["output_dir"] = "~/lines"
    distiller = from_recipe(Reading(home).write(recipe))
    distiller.check()
    assert distiller.folder.path == home / "lines"
    assert distiller.setup.targets is not None
    assert distiller.setup.targets.keep == home / "teachers"
    assert inside(home / "here") == set()


def test_texts_of_ones_own(home: Path) -> None:
    write_tsv(home / "own.tsv", sentences(32, 0))
    made = tasks.text("~/own.tsv", {"fraction": 0.25}, text="sentence")
    assert made.labels
    with pytest.raises(TextkdError) as caught:
        lines("~/missing.parquet")
    assert str(home / "missing.parquet") in str(caught.value)


def test_python(home: Path, tiny: Tiny) -> None:
    task = tasks.glue("sst2", "~/data")
    made = from_recipe(tiny.write(tiny.recipe))
    teacher, student = made.start("teacher"), made.start("student")
    distiller = Distiller(teacher, student, task, [Match("logits")], {"output_dir": "~/run"})
    assert distiller.folder.path == home / "run"
    assert CacheOptions(folder="~/taps").folder == str(home / "taps")
    assert make_arguments({"run_name": "~/x", "learning_rate": 0.5}, "out").run_name == str(home / "x")
    with pytest.raises(TextkdError) as caught:
        Recogniser("~/missing.onnx")
    assert str(home / "missing.onnx") in str(caught.value)
    (home / "rows").mkdir()
    (home / "rows" / "train.csv").write_text("text,label\ngood,1\n")
    assert len(load_split("~/rows", None, "train")) == 1


NAMELESS: dict[str, Callable[[str], Any]] = {
    "a path": at_home, "a model": resolve_path, "lines": lines, "a data set": lambda path: load_split(path, None, "a"),
    "a file": lambda path: tasks.text(path, path), "a folder of GLUE": lambda path: tasks.glue("sst2", path),
    "a cache": lambda path: CacheOptions(folder=path), "a run": lambda path: folder_of(path, "runs/x"),
    "a student": lambda path: check_spec({"path": path}), "a recogniser": Recogniser,
    "a processor": lambda path: tasks.ocr({"digits": {}}, {"digits": {}}, processor=path).processor,
}  # fmt: skip


@pytest.mark.parametrize("read", NAMELESS.values(), ids=NAMELESS)
@pytest.mark.parametrize("path", ["", "  "])
def test_a_path_without_a_name_is_not_the_current_folder(path: str, read: Callable[[str], Any]) -> None:
    with pytest.raises(TextkdError, match=r"an empty text|not a path"):
        read(path)


def test_a_teacher_is_kept_in_a_folder_with_a_name(tiny: Tiny) -> None:
    teacher = {**tiny.recipe["teacher"], "finetune": {"max_steps": 1}, "keep": " "}
    with pytest.raises(TextkdError, match=r"teacher\.keep: asked: a path: ' '\n"):
        from_recipe(tiny.write({**tiny.recipe, "teacher": teacher}))


def test_a_folder_that_the_environment_names_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PWD is the folder of a shell: a recipe names files below it."""
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.setenv("SERVICE_PWD", "/no/such/place")
    assert scrub(f"path: {tmp_path}/teacher") == f"path: {tmp_path}/teacher"
    assert scrub("path: /no/such/place") == f"path: {HIDDEN}"
