"""The processes of a run, and folders that one run at a time works in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast
from filelock import FileLock, Timeout

from textkd.errors import fail

log = logging.getLogger("textkd")


def processes() -> PartialState:
    """This process among those of the run. Accelerate asks to be told of CPUs; else every process would be alone."""
    return PartialState(cpu=not torch.accelerator.is_available())


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
