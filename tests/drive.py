"""`textkd` commands in processes of their own, forked from one that has imported everything."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import multiprocessing.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file


@functools.cache
def _server() -> Any:
    """A server that is a fork of this process. To be called before any test (conftest): it has all imports then, and
    torch refuses to train in forks of a process that has trained."""
    import frozen_imports  # noqa: F401

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing.util, "spawnv_passfds", _fork)
        forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")


def _fork(_: bytes, arguments: list[str], given: list[int]) -> int:
    """Does in a fork what `arguments`, a Python with `-c PROGRAM`, would do in a new process that has `given` files."""
    child = os.fork()
    if child == 0:
        try:
            for number in map(int, os.listdir("/dev/fd")):  # the server ends when nobody holds the other end of a pipe
                with contextlib.suppress(OSError):
                    if number not in given and os.path.sameopenfile(number, given[-1]):
                        os.close(number)
            exec(arguments[-1], {})
        finally:
            os._exit(1)
    return child


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: the signal that killed it) and what it said."""

    code: int
    said: str


def start(*arguments: object, log: Path, patch: Callable[[], None] | None = None) -> Any:
    """Starts `textkd ARGUMENTS`; `patch`, a module-level function, is called in its process before."""
    process = _server().Process(target=_main, args=([str(a) for a in arguments], log, patch))
    process.start()
    return process


def textkd(*arguments: object, folder: Path, patch: Callable[[], None] | None = None) -> Ended:
    """Runs `textkd ARGUMENTS` to its end."""
    log = folder / "said.txt"
    process = start(*arguments, log=log, patch=patch)
    process.join(300)
    return Ended(process.exitcode, log.read_text())


def _main(arguments: list[str], log: Path, patch: Callable[[], None] | None) -> None:
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    torch.set_num_threads(1)
    if patch is not None:
        patch()
    from textkd.cli import app

    sys.argv = ["textkd", *arguments]
    app.main()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def history(run: Path, role: str = "student", seed: int = 0) -> list[dict[str, Any]]:
    """The logged steps of one training of a finished run."""
    return json.loads((run / "results.json").read_text())["models"][role]["runs"][seed]["history"]


def losses(run: Path, role: str = "student") -> dict[tuple[int, str], float]:
    """Every logged loss, part and evaluation by (step, name)."""
    found = {}
    for row in history(run, role):
        measured = {f"eval/{name}": value for name, value in (row.get("eval") or {}).items()}
        flat = {"loss": row.get("loss"), **row.get("parts", {}), **measured}
        found.update({(row["step"], name): value for name, value in flat.items() if value is not None})
    return found


def differences(one: dict[Any, Any], other: dict[Any, Any]) -> float:
    """The largest absolute difference; infinite if the keys differ."""
    if one.keys() != other.keys() or not one:
        return float("inf")
    return max(float((torch.as_tensor(one[key]) - torch.as_tensor(other[key])).abs().max()) for key in one)


def launch_forked(file: Path, folder: Path) -> None:
    """Runs the recipe in two processes with the variables that a launcher sets, without starting one."""
    ended = start_forked(file, folder)()
    assert [code for code, _ in ended] == [0, 0], [said[-3000:] for _, said in ended]
    assert sum(said.count("report: ") for _, said in ended) == 1


def start_forked(file: Path, folder: Path) -> Callable[[], list[tuple[int | None, str]]]:
    """Starts what `launch_forked` runs; what comes back waits for it and gives exit code and output of both."""
    port, both = free_port(), []
    for rank in range(2):
        values = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2,
                  "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "HF_HUB_OFFLINE": 1}  # fmt: skip
        log = folder / f"said-{rank}.txt"
        both.append((start("run", file, log=log, patch=functools.partial(set_variables, values)), log))

    def ended() -> list[tuple[int | None, str]]:
        for process, _ in both:
            process.join(100)
        return [(process.exitcode, log.read_text()) for process, log in both]

    return ended


def set_variables(values: dict[str, Any]) -> None:
    os.environ.update({name: str(value) for name, value in values.items()})


def launch(command: list[str], file: Path, folder: Path) -> None:
    """Runs the recipe in two processes: `command` is `ACCELERATE` or `TORCHRUN`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    arguments = [sys.executable, "-m", *command, free_port(), "-m", "textkd", "run", str(file)]
    done = subprocess.run(arguments, env=environment, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("report: ") == 1, done.stderr[-3000:]


# `--cpu` would ask for MPI; the launcher of GPUs starts gloo where there are none
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port"]  # fmt: skip
TORCHRUN = ["torch.distributed.run", "--nproc_per_node", "2", "--master_port"]


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])
