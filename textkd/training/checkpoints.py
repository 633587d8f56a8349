"""Which checkpoints can be trusted after a kill, and whether an error means a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from textkd.errors import fail


def last_checkpoint(folder: str | Path) -> str | None:
    """The newest complete checkpoint of `folder`. The state is written last: a killed saving leaves none."""
    complete = [c for c in Path(folder).glob("checkpoint-*") if _is_complete(c)]
    return str(max(complete, key=lambda c: int(c.name.rpartition("-")[2]))) if complete else None


def remove_incomplete(folder: str | Path) -> None:
    """Deletes checkpoints whose saving was killed."""
    for checkpoint in Path(folder).glob("checkpoint-*"):
        if not _is_complete(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)


def _is_complete(checkpoint: Path) -> bool:
    try:
        return "global_step" in json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False


def _umask() -> int:
    """What this process takes from the rights of new files."""
    os.umask(given := os.umask(0))
    return given


UMASK = _umask()


def share(folder: Path) -> None:
    """Gives the weights in `folder` the rights of any new file: safetensors writes them for the owner alone."""
    for file in folder.glob("*.safetensors"):
        file.chmod(0o666 & ~UMASK)


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Around the writing of `folder`: on a full disk what was written goes and a `TextkdError` says what is left."""
    try:
        yield
        share(folder)
    except Exception as error:
        if not disk_is_full(error, folder.parent):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        last = last_checkpoint(folder.parent)
        fix = f"free some space and run the same command again; last good checkpoint: {last or 'none yet'}"
        raise fail(f"save {folder}", "no space left on the disk", fix=fix) from error


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether `error` comes from a full disk. safetensors and torch wrap the OSError, so their text decides too."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # the last is what torch's zip writer says
    if any(said in str(error) for said in ("No space left", "os error 28", "unexpected pos")):
        return True
    return isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < 2**20


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON so that `path` is either the old file or the whole new one."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False))
    os.replace(part, path)


def refuse_lost(model: nn.Module, loaded: Any, shown: str, but: tuple[str, ...] = ()) -> None:
    """Raises `TextkdError` where a checkpoint and the model have not the same weights: transformers loads what fits and
    logs a line about the rest. loaded: what `load_state_dict` returned. but: prefixes that may differ."""
    tied = getattr(model, "all_tied_weights_keys", {})
    names = (*loaded.missing_keys, *loaded.unexpected_keys)
    lost = [name for name in names if name not in tied and not name.startswith(but or ("\0",))]
    if lost:
        found = f"{len(lost)} of them do not fit the model: {', '.join(lost[:5])}"
        raise fail(f"the weights of {shown}", found, fix="delete the run folder")
