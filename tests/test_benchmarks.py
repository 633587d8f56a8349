"""The programs in benchmarks/ run at tiny shapes and print one line of JSON; sides take turns, errors are told."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from command_line import textkd

FOLDER = Path(__file__).parents[1] / "benchmarks"
GIVEN = argparse.Namespace(threads=0, repeats=3, clock="wall", busy=0)


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


def test_a_side_without_gradients_leaves_the_others_theirs(program: Any) -> None:
    seen = list[bool]()

    def bare(turn: Any) -> None:
        with torch.no_grad():
            while True:
                turn()
                seen.append(not torch.is_grad_enabled())

    def taught(turn: Any) -> None:
        while True:
            turn()
            seen.append(torch.is_grad_enabled())

    program("turns").take_turns({"bare": bare, "taught": taught}, GIVEN)
    assert seen == [True] * len(seen)
    assert torch.is_grad_enabled()


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


def test_sides_in_bf16_are_left_out_where_it_is_emulated(
    program: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    step, machine = program("step"), program("machine")
    for native in (True, False):
        monkeypatch.setattr(machine, "has_bf16", lambda native=native: native)
        monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
        machine.cpu.cache_clear()
        names = set(step.sides(step.QUICK, tmp_path, []))
        assert ({"live_bf16", "cached_bf16"} <= names) is native
        assert ("without the sides in bf16" in capsys.readouterr().err) is not native
    assert program("attention").main([]) == 0  # and ends at once
    assert json.loads(capsys.readouterr().out)["ratios"] == {}
    monkeypatch.setattr(machine, "has_bf16", lambda: True)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    machine.cpu.cache_clear()
    assert not machine.has_native_bf16()
    machine.cpu.cache_clear()


def test_the_cpu_is_told(program: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    machine, file = program("machine"), tmp_path / "cpuinfo"
    file.write_text("processor : 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 sse\n\nprocessor : 1\n")
    monkeypatch.setattr(machine, "CPUINFO", file)
    machine.cpu.cache_clear()
    machine.tell_cpu()
    assert "Some CPU @ 2 GHz" in (told := capsys.readouterr().err)
    assert "flags avx2," in told
    machine.cpu.cache_clear()


def test_busy_processes_run_inside_and_end(program: Any) -> None:
    me = psutil.Process()
    before = set(me.children())
    with program("machine").busy(2):
        assert len(set(me.children()) - before) == 2
    assert set(me.children()) == before


STARTUP = {"help seconds", "ls cpu", "wrong seconds", "check/torch+read cpu"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "ratios"),
    [
        ("step", {"live/bare", "live/floor"}),
        ("early_exit", {"hidden:1/share", "hidden:4/share", "attention/logits", "attentions/logits", "logits/whole"}),
        ("cache", {"build/pass", "plain/cached"}),
        ("small", {"live/bare", "plain/cached"}),
        pytest.param("int8_teacher", {"int8/bare", "fill/fill_int8"}, marks=pytest.mark.slow),
        pytest.param("startup", STARTUP, marks=pytest.mark.slow),  # six processes, four with torch
        ("attention", {"fused/plain 2x8, 8 tokens"}),
        ("bf16", {"float32/bf16 8 x 16 x 16"}),
        ("fused_head", {"both memory", "logits memory", "labels memory", "both time"}),
        pytest.param("deploy_lines", {"torch/onnx"}, marks=pytest.mark.slow),
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


@pytest.mark.long
def test_startup_runs(
    program: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its commands run in this process, which has imported all that they need; one runs in a process of its own."""
    startup, done = program("startup"), list[list[str]]()

    def run(command: list[str], folder: Path, code: int) -> tuple[float, float]:
        done.append(command)
        if startup.READ in command:
            monkeypatch.setattr(sys, "argv", command[2:])
            exec(startup.READ, {})
            wall, cpu = map(float, capsys.readouterr().out.split()[-2:])
            return wall, cpu
        if command != startup.TORCH:
            assert command[:3] == startup.TEXTKD
            ended, said = textkd(capsys, monkeypatch, *command[3:])
            assert ended == code, said
        return 1.0, 1.0

    assert all(seconds > 0 for seconds in startup.run([*startup.TEXTKD, "--help"], tmp_path, 0))
    with pytest.raises(RuntimeError, match="nearest: losses"):
        startup.run([*startup.TEXTKD, "ls", "lossses"], tmp_path, 0)
    monkeypatch.setattr(startup, "PACKAGES", ("a_package_that_nobody_has",))  # so that it makes its own recipe
    monkeypatch.setattr(startup, "run", run)
    assert startup.main(["--quick", "--repeats", "1"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["name"], said["recipe"]) == ("startup", "good.yaml")
    assert set(said["ratios"]) >= STARTUP
    assert all(value > 0 for value in said["ratios"].values())
    assert len(done) == 6
