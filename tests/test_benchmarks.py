"""The programs in benchmarks/ run at tiny shapes and print one line of JSON; sides take turns, errors are told."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
GIVEN = argparse.Namespace(threads=0, repeats=3, clock="wall")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


def test_sides_take_turns(program: Any) -> None:
    turns, order = program("turns"), []

    def side(name: str, turn: Any) -> None:
        while True:
            turn()
            order.append(name)

    times = turns.take_turns({name: lambda turn, name=name: side(name, turn) for name in "ab"}, GIVEN, warmup=1)
    assert "".join(order) == "ab" + "ba" + "ab" + "ba"
    assert [len(times[name]) for name in "ab"] == [3, 3]


def test_what_goes_wrong_in_a_side_is_told(program: Any) -> None:
    def side(turn: Any) -> None:
        turn()
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        program("turns").take_turns({"one": side}, GIVEN)


def test_limits(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    turns = program("turns")
    limits = {"a/b": turns.Limit(most=1.05), "c/d": turns.Limit(least=2)}
    for value, quick, ok in ((1.0, False, True), (1.1, False, False), (1.1, True, True)):
        assert turns.tell("x", {"a/b": value, "c/d": 2.5}, limits, quick) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["ok"], said["limits"]) == (ok, {"a/b": [None, 1.05], "c/d": [2, None]})
    assert turns.tell("x", {"a/b": 1.0, "c/d": 1.9}, limits, False) == 0
    assert not json.loads(capsys.readouterr().out)["ok"]


@pytest.mark.parametrize(
    ("name", "ratios"),
    [
        ("step", {"live/bare", "live/floor"}),
        ("early_exit", {"hidden:1/share", "hidden:4/share", "attention/logits", "logits/whole", "unlike/padded"}),
        ("cache", {"build/pass", "plain/cached"}),
        ("attention", {"fused/plain 2x8, 8 tokens"}),
        ("bf16", {"float32/bf16 8 x 16 x 16"}),
        ("fused_head", {"both memory", "logits memory", "labels memory", "both time"}),
        pytest.param("scale", {"time 256/64", "memory 256/64"}, marks=pytest.mark.slow),
    ],
)
def test_programs_run(name: str, ratios: set[str], program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(name).main(["--quick", "--repeats", "1"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["name"] == name
    assert ratios <= set(said["ratios"])
    assert all(value > 0 for value in said["ratios"].values())
    assert set(said["limits"]) <= set(said["ratios"])
