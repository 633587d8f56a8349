"""The processes of a run, and folders that one run at a time works in."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, broadcast_object_list
from filelock import FileLock, Timeout

from textkd.errors import Problem, TextkdError, fail, problem

log = logging.getLogger("textkd")


def processes() -> PartialState:
    """This process among those of the run. Accelerate asks to be told of CPUs; else every process would be alone."""
    return PartialState(cpu=not torch.accelerator.is_available())


# how a launcher tells a process that there are others
_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
_OTHERS = ("RANK", *_SIZES)


def launch_problems() -> list[Problem]:
    """Whether the environment speaks of several processes that no launcher has started: a WORLD_SIZE that was left
    over; or `accelerate launch`, which on CPUs leaves them to MPI, and gives one process the address of a meeting to
    which nobody comes."""
    sizes = {name: os.environ[name] for name in _SIZES if name in os.environ}
    if found := _half_told(sizes):
        fix = f"torchrun --nproc_per_node N, or for one process: unset {' '.join(sizes)}"
        return [problem("several processes, by the environment", found, fix=fix)]
    asked = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ)
    if not asked or any(name in os.environ for name in _OTHERS) or torch.accelerator.is_available():
        return []
    found = "it started one: its launcher of CPUs leaves the others to MPI"
    fix = "accelerate launch --multi_gpu --num_processes N (on CPUs too: gloo), or torchrun --nproc_per_node N"
    return [problem("several processes of `accelerate launch`", found, fix=fix)]


def _half_told(sizes: Mapping[str, str]) -> str:
    """What a launcher would have set beside the number of processes; "" where nothing is missing."""
    told = ", ".join(f"{name}={value}" for name, value in sizes.items())
    if not all(value.isdecimal() for value in sizes.values()):
        return f"{told}, which is no number"
    if sizes.get("WORLD_SIZE", "1") != "1":
        lost = [name for name in ("RANK", "MASTER_ADDR") if name not in os.environ]
        return f"{told} without {' and '.join(lost)}: no launcher has started this process" if lost else ""
    return ""


def of_main(make: Callable[[], Any]) -> Any:
    """What the main process makes, in all processes; a `TextkdError` of its is raised in all."""
    if processes().num_processes == 1:
        return make()
    made: list[Any] = [None]
    if processes().is_main_process:
        try:
            made = [make()]
        except TextkdError as error:
            made = [error.problems]
    broadcast_object_list(made)
    if isinstance(made[0], list | tuple) and made[0] and all(isinstance(one, Problem) for one in made[0]):
        raise TextkdError(*made[0])
    return made[0]


WAIT_S = 30.0  # for a lock at a time: far below what processes wait for each other at most


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Holds `folder` for this run (all its processes). The lock dies with the process, however it dies. wait: until
    whoever holds it has ended; else `TextkdError`. All processes go on, or fail, together."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        taken = _taken(lock, 0)
        if not taken and not wait:
            raise fail(f"run in {folder}", "another process is working in this folder", where="training.output_dir",
                       fix="wait for it, or training.output_dir=<another folder>")  # fmt: skip
        if not taken:
            log.info("waiting for another process that works in %s", folder)
            while not _taken(lock, WAIT_S):
                pass
        yield
    finally:
        lock.release()


def _taken(lock: FileLock, seconds: float) -> bool:
    """Whether the main process holds the lock, or got it within so many seconds; all processes learn it."""
    if processes().is_main_process and not lock.is_locked:
        with suppress(Timeout):
            lock.acquire(timeout=seconds)
    told = broadcast(torch.tensor(int(lock.is_locked), device=processes().device))
    return bool(told.item())
