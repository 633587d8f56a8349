"""The folder of a run: whose it is, what lies where, and that only one process works in it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from accelerate import PartialState
from accelerate.utils import broadcast
from filelock import FileLock, Timeout

from textkd.checkpoints import write_json
from textkd.errors import fail

log = logging.getLogger("textkd")


def processes() -> PartialState:
    """This process among those of the run. Accelerate asks to be told of CPUs; else every process would be alone."""
    return PartialState(cpu=not torch.accelerator.is_available())


@dataclass(frozen=True)
class RunFolder:
    """``run.json`` says whose folder it is; ``seed-<n>/student`` and ``seed-<n>/control`` are models; ``results.json``
    is there once everything is finished."""

    path: Path

    def model(self, role: str, seed: int) -> Path:
        return self.path / f"seed-{seed}" / role

    @property
    def is_finished(self) -> bool:
        return (self.path / "results.json").is_file()

    def check(self, fingerprint: str, inputs: Mapping[str, str] = MappingProxyType({})) -> None:
        """Raises `TextkdError` if the folder belongs to another recipe, to this one on other `inputs` (what they are ->
        a hash of their content), or holds something that is no run."""
        owner = self.path / "run.json"
        if not owner.is_file():
            if self.path.exists() and any(not p.name.startswith(".") for p in self.path.iterdir()):
                raise fail(f"run folder {self.path}", "a folder with other things in it", where="training.output_dir",
                           fix="training.output_dir=<a new folder>")  # fmt: skip
            return
        try:
            known = json.loads(owner.read_text())
        except ValueError as error:
            raise fail(f"run folder {self.path}", f"run.json is damaged: {error}", fix="delete the folder") from error
        fix = "training.output_dir=<a new folder>, or delete this one"
        if known.get("fingerprint") != _digest(fingerprint):
            found = f"the run of another recipe ({known.get('name')})"
            raise fail(f"run folder {self.path}", found, where="training.output_dir", fix=fix)
        before = known.get("inputs", {})  # early folders have none
        if other := [name for name, content in inputs.items() if before.get(name, content) != content]:
            found = f"the run of this recipe on another content of: {', '.join(other)}"
            raise fail(f"run folder {self.path}", found, where="training.output_dir", fix=fix)

    def claim(self, fingerprint: str, name: str, inputs: Mapping[str, str] = MappingProxyType({})) -> None:
        """Writes whose folder it is, once."""
        if processes().is_main_process and not (self.path / "run.json").is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            about = {"name": name, "fingerprint": _digest(fingerprint), "inputs": dict(inputs), "recipe": fingerprint}
            write_json(self.path / "run.json", about)
        processes().wait_for_everyone()


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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
