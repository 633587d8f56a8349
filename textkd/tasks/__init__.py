"""Tasks: data, preprocessing, batches and metrics of what a model is distilled on."""

from __future__ import annotations

from textkd.tasks.kinds import Kind, get, kind, names, register
from textkd.tasks.ocr.factory import ocr
from textkd.tasks.ocr.task import OcrTask
from textkd.tasks.output import Output
from textkd.tasks.task import Task
from textkd.tasks.text.columns import text
from textkd.tasks.text.glue import glue
from textkd.tasks.text.task import TaskSpec, TextTask
from textkd.tasks.tokens.encode import TokenCollator, encode_words
from textkd.tasks.tokens.factory import tokens
from textkd.tasks.tokens.task import TokensTask

__all__ = [
    "Kind", "OcrTask", "Output", "Task", "TaskSpec", "TextTask", "TokenCollator", "TokensTask", "encode_words", "get",
    "glue", "kind", "names", "ocr", "register", "text", "tokens",
]  # fmt: skip
