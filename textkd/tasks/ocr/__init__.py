"""Text recognition on images of lines: sources, processor, rows, generation, task."""

from __future__ import annotations

from textkd.tasks.ocr.factory import ocr
from textkd.tasks.ocr.task import OcrTask

__all__ = ["OcrTask", "ocr"]
