"""Opens an exported folder as a module."""

from __future__ import annotations

from pathlib import Path

from textkd.deploy import manifest
from textkd.deploy.as_module import Exported
from textkd.deploy.lines_module import ExportedLines


def module_of(folder: Path, threads: int | None = None, one_by_one: bool = False) -> Exported:
    """An exported folder as a module, so that tasks judge it as they judge any model.

    Args:
        folder: that `textkd export --format onnx` wrote.
        threads: of the CPU; None: all cores.
        one_by_one: rows of a batch run one at a time, without padding; else together.

    Raises:
        TextkdError: it is none, or is damaged.
    """
    made = ExportedLines if manifest.read(folder).kind == manifest.LINES else Exported
    return made(folder, threads, one_by_one)
