"""Options of wrong types, sizes of no machine, broken weights, disks that refuse: a message, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import inside, textkd
from graph_lab import short
from safetensors.torch import load_file, save_file
from spoil import copy_teacher
from tiny_lab import Tiny

from textkd import TextkdError, tasks
from textkd.config.task_block import task_of
from textkd.errors import Collector
from textkd.models import files
from textkd.training.trainer import DistilTrainer

HUGE = 10**400


def make(**block: Any) -> None:
    """A task of a recipe's block, with all that is wrong in it raised."""
    found = Collector()
    task = task_of(block, found)
    found.raise_any()
    assert task is not None
    task.problems()


WRONG = [5, 2.5, True, "", ",,", [], [["x"]], {"a": 1}, [None], {1: 2}, HUGE, float("nan")]


@pytest.mark.long
@pytest.mark.parametrize("name", ["text", "tokens", "ocr", "glue/sst2"])
def test_options_of_wrong_types(name: str, tmp_path: Path) -> None:
    """Every option of every kind of task under values of all types: it is taken, or a message says what is due."""
    file = tmp_path / "x.csv"
    file.write_text("text,label\na,b\nc,d\n")
    usual = {"train": str(file), "eval": str(file)} if name in ("text", "tokens") else {}
    refused, longest = 0, 0
    for option in tasks.kind(name).options:
        for value in WRONG:
            if option in ("path", "dataset") and value == "":
                continue  # the hub, or no data set
            told = ""
            try:
                found = Collector()
                task_of({"name": name, **usual, option: value}, found)
                found.raise_any()
            except TextkdError as error:
                told = str(error)
            refused += bool(told)
            longest = max(longest, len(told))
    assert refused > len(WRONG)
    assert longest < 5000


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": "text", "text": 5}, "text: asked: text: 5\n  found: a int\n  fix: give a text"),
    ({"name": "text", "delimiter": ",,"}, "not one character between columns"),
    ({"name": "text", "type": "multi_label", "label": []}, "no column"),
    ({"name": "text", "labels": ["1", "1.0"]}, "different names"),
    ({"name": "tokens", "labels": {"a": 1}}, "give a list of which each is a text"),
    ({"name": "ocr", "width": HUGE}, "at most 4096 and 32768"),
    ({"name": "ocr", "seed": HUGE}, "seed: a whole number from 0 to 4294967295"),
    ({"name": "ocr", "generation": {"num_beams": 10**9}}, "a whole number from 1 to 1000"),
    ({"name": "ocr", "generation": {"length_penalty": float("inf")}}, "not a finite number"),
    ({"name": "ocr", "train": {"rendered": {"n": 10**12}}}, "n: a whole number from 1 to 100000000"),
    ({"name": "ocr", "train": {"digits": {"n": 9}, "repeat": 10**9}}, "repeat: a whole number from 1 to 10000"),
]  # fmt: skip


@pytest.mark.parametrize(("block", "due"), OPTIONS, ids=[f"{list(block.items())[-1]}"[:40] for block, _ in OPTIONS])
def test_an_option_that_cannot_be(block: dict[str, Any], due: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\na,b\nc,d\n")
    usual = {} if block["name"] == "tokens" else {"train": str(tmp_path / "x.csv")}
    if block["name"] == "ocr":
        usual = {"train": {"digits": {"n": 4}}, "eval": {"digits": {"n": 4}}}
    with pytest.raises(TextkdError) as raised:
        make(**{"eval": str(tmp_path / "x.csv"), **usual, **block})
    assert due in str(raised.value)


SIZES = [("num_hidden_layers", 1_000_000), ("hidden_size", 2**40), ("num_hidden_layers", HUGE)]


@pytest.mark.long
@pytest.mark.parametrize(("name", "value"), SIZES, ids=["layers", "width", "digits"])
def test_a_student_larger_than_any_model(
    name: str, value: int, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    code, said = textkd(
        capsys, monkeypatch, "check", str(tiny.write(tiny.recipe)), f"student={{config: {{{name}: {value}}}}}"
    )
    assert code == 2
    assert "larger than any model" in said or "400 digits" in said
    assert time.monotonic() - began < 10


def test_a_student_that_cannot_read_a_row(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change = "student={config: {num_hidden_layers: 2, type_vocab_size: 0}}"
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(tiny.recipe)), change)
    assert code == 2
    assert "a forward that gives" in said


ODD = [
    ("cohort={size: 1000000000000000000}", "more models than a report shows"),
    (f"matches.2.tap='hidden:{'9' * 5000}'", "5,024 characters) fix: \"hidden:4\""),
    (f"matches.{'9' * 5000}.tap=logits", "fix: 0 to 2"),
    ("matches.1.temperature=1.0e+300", "float32 tells classes apart"),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("change", "due"), ODD, ids=[change[:20] for change, _ in ODD])
def test_a_number_that_cannot_be(
    change: str, due: str, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(tiny.recipe)), change)
    assert code == 2
    assert due in said
    assert len(said) < 5000


def test_a_folder_with_a_million_blocks(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_teacher(tiny)
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 1_000_000}
    (folder / "config.json").write_text(json.dumps(config))
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(tiny.recipe)), f"student={{path: {folder}}}")
    assert code == 2
    assert "num_hidden_layers: 1000000; at most 1000" in said


@pytest.mark.long
@pytest.mark.parametrize("side", ["teacher", "student"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_weight_that_is_not_finite_is_named(
    side: str, value: float, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, recipe = copy_teacher(tiny), tiny.recipe
    weights = load_file(folder / "model.safetensors")
    name = "bert.encoder.layer.2.output.dense.weight"
    weights[name].view(-1)[3] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    recipe[side] = {"path": str(folder)}
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(recipe)))
    assert code == 2
    assert f"{side}: asked: the model {folder} found: 1 of 512 values of {name} are not finite" in said
    assert "options" not in said


@pytest.mark.long
@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EFBIG, errno.EIO, errno.ENAMETOOLONG])
def test_a_disk_that_refuses_run_json(
    number: int, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """run.json is the first file of a run; the others are written by the same function."""
    replace = os.replace

    def refuse(old: Any, new: Any) -> None:
        if str(new).endswith("run.json"):
            raise OSError(number, os.strerror(number), str(new))
        replace(old, new)

    monkeypatch.setattr(files.os, "replace", refuse)
    code, said = textkd(capsys, monkeypatch, "run", str(tiny.write(tiny.recipe)))
    assert code == 2
    assert os.strerror(number) in said or "no space left" in said
    assert "run.json" in said
    assert not any(name.endswith((".tmp", "run.json")) for name in inside(tiny.folder / "run"))


# the files of a run in the order in which they appear, and what each disk says
REFUSED = [
    ("student.part/textkd.json", errno.EFBIG), (".textkd-nodes", errno.EDQUOT), ("final.part/stage.json", errno.ENOSPC),
    ("control/README.md", errno.EROFS), ("results.json", errno.EFBIG), ("report.json", errno.EACCES),
    ("report.html", errno.ENOSPC),
]  # fmt: skip


@pytest.mark.long
def test_a_disk_that_refuses_every_file_once_loses_nothing(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message for each, and the same command goes on from there: nothing is trained twice."""
    replace, due = os.replace, list(REFUSED)

    def refuse(old: Any, new: Any) -> None:
        if due and due[0][0] in str(new):
            number = due.pop(0)[1]
            raise OSError(number, os.strerror(number), str(old), None, str(new))
        replace(old, new)

    monkeypatch.setenv("TEXTKD_REUSE", "1")  # the index is a file, too
    monkeypatch.setattr(files.os, "replace", refuse)
    trained = list[str]()
    train = DistilTrainer.train
    monkeypatch.setattr(
        DistilTrainer, "train", lambda self, **words: (trained.append(self.args.output_dir), train(self, **words))[1]
    )
    file = str(tiny.write(short(tiny)))
    for name, number in REFUSED:
        code, said = textkd(capsys, monkeypatch, "run", file)
        assert (code, len(due)) == (2, len(REFUSED) - 1 - REFUSED.index((name, number))), said
        assert os.strerror(number) in said or "no space left" in said
        assert name.partition("/")[0] in said
        assert "Traceback" not in said
        assert not any(left.endswith(".tmp") for left in inside(tiny.folder))
    code, said = textkd(capsys, monkeypatch, "run", file)
    assert (code, due) == (0, [])
    assert [Path(one).parts[-2] for one in trained] == ["student.work", "control.work", "control.work"]
    left = inside(tiny.folder / "run")
    assert {"report.html", "report.json", "results.json", "seed-1/student/README.md"} <= left
    assert not any(".part" in name or name.endswith(".work") for name in left)


GARBAGE = {
    "a list": "[1, 2]", "a number": "5", "deep": "[" * 100_000, "bytes": "\0\1", 
    "types": '{"models": 5, "compare": []}',
    "first edition": '{"student": [], "teacher": 3, "models": {"a": [1]}}', "digits": f'{{"seeds": [{"1" * 5000}]}}',
}  # fmt: skip


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_in_results(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(GARBAGE[name])
    for words in (["report", str(tmp_path / "run")], ["export", str(tmp_path / "run"), str(tmp_path / "out")]):
        code, said = textkd(capsys, monkeypatch, *words)
        assert code == 2
        assert len(said) < 10_000
    assert inside(tmp_path) == {"run", "run/results.json"}


@pytest.mark.parametrize("command", ["ls presets hinton", *(
    pytest.param(words, marks=pytest.mark.long) for words in ("ls losses", "ls presets", "ls losses --markdown")
)])  # fmt: skip
def test_a_pipe_that_is_closed(command: str) -> None:
    """As `textkd ls presets hinton | head -0`."""
    reads, writes = os.pipe()
    os.close(reads)
    code = "from textkd.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *command.split()], stdout=writes, stderr=subprocess.PIPE)
    os.close(writes)
    assert b"Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0
