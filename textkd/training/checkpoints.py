"""Which checkpoints can be trusted after a kill, and whether their weights are the model's."""

from __future__ import annotations

import json
import shutil
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


def refuse_lost(model: nn.Module, loaded: Any, shown: str, but: tuple[str, ...] = ()) -> None:
    """Raises `TextkdError` where a checkpoint and the model have not the same weights: transformers loads what fits and
    logs a line about the rest. loaded: what `load_state_dict` returned. but: prefixes that may differ."""
    tied = getattr(model, "all_tied_weights_keys", {})
    names = (*loaded.missing_keys, *loaded.unexpected_keys)
    lost = [name for name in names if name not in tied and not name.startswith(but or ("\0",))]
    if lost:
        found = f"{len(lost)} of them do not fit the model: {', '.join(lost[:5])}"
        raise fail(f"the weights of {shown}", found, fix="delete the run folder")
