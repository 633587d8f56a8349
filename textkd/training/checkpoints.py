"""Which checkpoints can be trusted after a kill, and whether their weights are the model's."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from torch import nn

from textkd.errors import fail
from textkd.models.files import read_record
from textkd.models.processes import processes
from textkd.models.regular import regular
from textkd.models.sums import damage

log = logging.getLogger("textkd")


def last_checkpoint(folder: str | Path) -> str | None:
    """The newest complete checkpoint of `folder` whose files are as they were written. The state is written last: a
    killed saving leaves none."""
    for checkpoint in sorted(Path(folder).glob("checkpoint-*"), key=_step, reverse=True):
        if _is_complete(checkpoint) and not damage(checkpoint):
            return str(checkpoint)
    return None


def remove_incomplete(folder: str | Path) -> None:
    """Deletes checkpoints whose saving was killed, and those that were damaged afterwards: these are named. All
    processes call it, and one does it."""
    for checkpoint in Path(folder).glob("checkpoint-*") if processes().is_main_process else ():
        bad = damage(checkpoint) if _is_complete(checkpoint) else "its saving was killed"
        if not bad:
            continue
        if _is_complete(checkpoint):
            log.warning("%s is damaged (%s); it is removed, and an earlier one or the start is taken", checkpoint, bad)
        shutil.rmtree(checkpoint, ignore_errors=True)
    processes().wait_for_everyone()


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _is_complete(checkpoint: Path) -> bool:
    try:
        return "global_step" in json.loads(regular(checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


@contextmanager
def resuming(checkpoint: str | None) -> Iterator[None]:
    """Around a training that goes on from `checkpoint`: torch loads tensors and numbers from its files, never code, and
    a `TextkdError` says so where one holds something else."""
    try:
        yield
    except UnpicklingError as error:
        if checkpoint is None:
            raise
        found = "a file of it is no plain torch file of tensors and numbers; code in a file is never run"
        fix = f"delete {checkpoint}: the same command goes on from an earlier one or from the start"
        raise fail(f"the checkpoint {checkpoint}", found, fix=fix) from error


def read_stage(final: Path, names: Collection[str]) -> dict[str, Any] | None:
    """The record of a finished stage; None if it has not ended. Raises `TextkdError` where its files are damaged.

    Args:
        final: its folder.
        names: what a record holds.
    """
    if not (final / "stage.json").exists():
        return None
    fix = f"delete {final.parent}: the same command trains this stage again"
    told, bad = read_record(final / "stage.json", "the finished stage", fix), damage(final)
    if not bad and told.keys() != set(names):
        bad = "stage.json is not what was written"
    if bad:
        raise fail(f"the finished stage {final}", f"it is damaged: {bad}", fix=fix)
    return told


def refuse_lost(model: nn.Module, loaded: Any, shown: str, but: tuple[str, ...] = ()) -> None:
    """Raises `TextkdError` where a checkpoint and the model have not the same weights: transformers loads what fits and
    logs a line about the rest. loaded: what `load_state_dict` returned. but: prefixes that may differ."""
    tied = getattr(model, "all_tied_weights_keys", {})
    names = (*loaded.missing_keys, *loaded.unexpected_keys)
    lost = [name for name in names if name not in tied and not name.startswith(but or ("\0",))]
    if lost:
        found = f"{len(lost)} of them do not fit the model: {', '.join(lost[:5])}"
        raise fail(f"the weights of {shown}", found, fix="delete the run folder")
