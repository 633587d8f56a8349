"""Tasks: data, preprocessing, batches and metrics of what a model is distilled on."""

from __future__ import annotations

from typing import Any

from textkd.errors import fail
from textkd.tasks.base import Task, TaskSpec
from textkd.tasks.glue import SUBSETS, glue
from textkd.tasks.text import text

TASK_NAMES = (*(f"glue/{subset}" for subset in SUBSETS), "text")

__all__ = ["TASK_NAMES", "Task", "TaskSpec", "get", "glue", "text"]


def get(name: str, **options: Any) -> Task:
    """A task by name: "glue/sst2" (options of `glue`) or "text" (options of `text`). Raises `TextkdError` on a typo."""
    if name not in TASK_NAMES:
        raise fail(f"task {name!r}", f"the tasks are {', '.join(TASK_NAMES)}", near=(name, TASK_NAMES))
    return text(**options) if name == "text" else glue(name.removeprefix("glue/"), **options)
