"""Bad commands through the `textkd` entry point: one message, exit code 2, nothing written."""

from __future__ import annotations

import pytest
from command_line import inside, textkd
from spoil import (
    make_other,
)
from tiny_lab import Tiny, make_teacher

MNLI = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
DEV = ["--file", "DIR/data/dev.tsv"]
SST2 = ["--task", "glue/sst2", *DEV]
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "no recipe": (["run", "DIR/tinny.yaml"], ["no such file", "tiny.yaml"]),
    "a folder": (["run", "DIR"], ["a folder"]),
    "unknown command": (["rum", "x"], ["rum", "nearest: run"]),
    "missing argument": (["run"], ["missing argument", "textkd run --help"]),
    "unknown option": (["run", "--fast", "x"], ["--fast"]),
    "unknown list": (["ls", "lossses"], ["nearest: losses"]),
    "a model of losses": (["ls", "losses", "x"], ["not a model's"]),
    "taps of nothing": (["ls", "taps"], ["no model"]),
    "taps of nowhere": (["ls", "taps", "nowhere"], ["nowhere"]),
    "eval nowhere": (["eval", "DIR/nowhere", *SST2], ["no such folder"]),
    "eval another task": (["eval", "DIR/teacher", "--task", "glue/sst", *DEV], ["nearest: glue/sst2"]),
    "eval another file": (["eval", "DIR/teacher", "--task", "glue/sst2", "--file", "DIR/x.tsv"], ["x.tsv"]),
    "eval other columns": (["eval", "DIR/teacher", "--task", "glue/rte", *DEV], ["column 'sentence1'"]),
    "eval more labels": (["eval", "DIR/three", *SST2], ["a head of 3 outputs"]),
    "eval without head": (["eval", "DIR/bare", *SST2], ["no trained head"]),
    "eval of columns": (["eval", "DIR/teacher", *SST2, "text=x"], ["--task text", "glue/sst2 has no options"]),
    "eval beams": (["eval", "DIR/teacher", *SST2, "num_beams=2"], ["--task ocr"]),
    "eval long": (["eval", "DIR/teacher", *SST2, "--max-length", "99"], ["40 positions"]),
    "report of no run": (["report", "DIR/data"], ["results.json"]),
    "report of nowhere": (["report", "DIR/nowhere"], ["no such folder"]),
    "export of no run": (["export", "DIR/data", "DIR/out"], ["neither config.json"]),
    "export onto something": (["export", "DIR/teacher", "DIR/data"], ["export to"]),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_command(
    name: str, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, due = COMMANDS[name]
    tiny.write(tiny.recipe)
    if "more labels" in name:
        make_other(**MNLI).save_pretrained(tiny.folder / "three")
    if "without head" in name:
        make_teacher().bert.save_pretrained(tiny.folder / "bare")
    before = inside(tiny.folder)
    code, said = textkd(capsys, monkeypatch, *(word.replace("DIR", str(tiny.folder)) for word in words))
    assert code == 2, said
    assert all(word in said for word in ["asked: ", "found: ", *due]), said
    assert inside(tiny.folder) == before
