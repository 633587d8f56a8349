"""Tasks: data, preprocessing, batches and metrics of what a model is distilled on."""

from __future__ import annotations

from typing import Any

from textkd.errors import fail
from textkd.tasks.ocr.factory import ocr
from textkd.tasks.ocr.task import OcrTask
from textkd.tasks.text.columns import text
from textkd.tasks.text.glue import SUBSETS, glue
from textkd.tasks.text.task import Task, TaskSpec

TASK_NAMES = (*(f"glue/{subset}" for subset in SUBSETS), "text", "ocr")

__all__ = ["TASK_NAMES", "OcrTask", "Task", "TaskSpec", "get", "glue", "ocr", "text"]


def get(name: str, **options: Any) -> Any:
    """A task by name: "glue/sst2" (options of `glue`), "text" (of `text`) or "ocr" (of `ocr`); a `Task` or an
    `OcrTask`. Raises `TextkdError` on a typo."""
    if name not in TASK_NAMES:
        raise fail(f"task {name!r}", f"the tasks are {', '.join(TASK_NAMES)}", near=(name, TASK_NAMES))
    makers: dict[str, Any] = {"text": text, "ocr": ocr}
    return makers[name](**options) if name in makers else glue(name.removeprefix("glue/"), **options)
