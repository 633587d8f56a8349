"""A published folder, judged as somebody without textkd uses it: by plain transformers, on a few rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textkd.models.loading import quiet
from textkd.models.own.marks import VARIANT
from textkd.tasks import Task

ROWS = 8


def plain_doubts(folder: Path, task: Task, rows: Any, said: Any, device: Any = "cpu") -> list[str]:
    """Whether a folder answers by itself what the metrics were made from.

    Args:
        folder: with model and tokenizer, nothing else is read.
        task: gives the rows as people read them.
        rows: of the split "eval", encoded.
        said: what the output predicted on them, with textkd.
        device: that the model runs on.

    Returns:
        A sentence where the two differ, or where plain transformers fails; of a folder that it refuses, textkd.
    """
    chosen, by = _some(rows), "textkd" if any(folder.glob(f"model.{VARIANT}*")) else "plain transformers"
    shown = task.load("eval")
    texts = [shown[int(rows[i]["example_id"])] for i in chosen]
    try:
        with quiet():
            differ = task.output.differ(
                str(folder), texts, [rows[i] for i in chosen], [said[i] for i in chosen], device
            )
    except Exception as error:  # whatever transformers raises, a person who loads the folder would meet
        told = str(error).strip().splitlines() or [""]
        return [f"the published folder does not run in {by}: {type(error).__name__}: {told[0]}"]
    if not differ:
        return []
    return [f"the published folder answers otherwise than was measured, in {by}: {differ}"]


def _some(rows: Any) -> list[int]:
    """The longest rows, which may be cut, and some from the whole split."""
    count = len(rows)
    longest = sorted(range(count), key=lambda i: -rows["length"][i])[: ROWS // 2] if count else []
    spread = [round(i * (count - 1) / (ROWS - 1)) for i in range(ROWS)] if count > ROWS else range(count)
    return list(dict.fromkeys([*longest, *spread]))[:ROWS]
