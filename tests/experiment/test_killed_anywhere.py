"""A run that is killed at any of its file operations and started again ends like one that was never killed."""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from drive import differences, losses, textkd, weights
from tiny_lab import Tiny

KILLS = 30
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.rmtree"}


def watch(folder: Path, log: Path | None, kill_at: int) -> None:
    """Counts this process's file operations in `folder`: writes them down, or kills it before one of them."""
    told = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    count, inside = [0], f"{folder}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        is_change = event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES)
        if not is_change or not str(arguments[0]).startswith(inside):
            return
        count[0] += 1
        if told is not None:
            os.write(told, f"{event} {arguments[0]}\n".encode())
        elif count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@pytest.fixture(scope="module")
def unbroken(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished run, and what it did to files."""
    tiny = lab(tmp_path_factory.mktemp("unbroken"), tiny_source)
    log = tiny.folder / "operations"
    ended = textkd(
        "run", tiny.folder / "recipe.yaml", folder=tiny.folder, patch=functools.partial(watch, tiny.folder, log, 0)
    )
    assert ended.code == 0, ended.said
    return tiny.folder / "run", log.read_text().splitlines()


def lab(folder: Path, source: Path) -> Tiny:
    tiny = Tiny(folder)
    for name in ("teacher", "data"):
        if not (folder / name).exists():
            (folder / name).symlink_to(source / name)
    training = {
        **tiny.recipe["training"],
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": 2,
        "logging_steps": 1,
    }
    (folder / "recipe.yaml").write_text(tiny.write(tiny.recipe | {"training": training}).read_text())
    return tiny


@pytest.mark.parametrize("part", [pytest.param(0, marks=pytest.mark.long), *(
    pytest.param(part, marks=pytest.mark.slow) for part in range(1, KILLS))])  # fmt: skip
def test_it_goes_on(part: int, tiny_source: Path, tmp_path: Path, unbroken: tuple[Path, list[str]]) -> None:
    """The operations are cut into 30 parts; each run is killed at the begin of one."""
    whole, operations = unbroken
    at = 1 + (part * len(operations)) // KILLS
    assert len(operations) > KILLS
    tiny = lab(tmp_path, tiny_source)
    file = tiny.folder / "recipe.yaml"
    killed = textkd("run", file, folder=tiny.folder, patch=functools.partial(watch, tiny.folder, None, at))
    assert killed.code == -signal.SIGKILL, f"{operations[at - 1]}: {killed.said}"
    again = textkd("run", file, folder=tiny.folder)
    assert again.code == 0, f"{operations[at - 1]}: {again.said}"
    run = tiny.folder / "run"
    for role in ("student", "control"):
        assert differences(losses(run, role), losses(whole, role)) == 0, operations[at - 1]
        place = next(run.glob("seed-*")) / role
        assert differences(weights(place), weights(next(whole.glob("seed-*")) / role)) == 0, operations[at - 1]
    left = [p.name for p in run.rglob("*") if p.name.endswith((".part", ".tmp")) or ".part" in p.suffixes]
    assert left == [], operations[at - 1]
