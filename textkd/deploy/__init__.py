"""What is shipped: a trained model as a folder that others load, and a runtime for it that needs no torch."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["load"]


def load(folder: str | os.PathLike[str], *, threads: int | None = None) -> Any:
    """Opens a folder that `textkd export --format onnx` wrote, with onnxruntime, numpy and tokenizers alone: torch and
    transformers are not imported.

    Args:
        folder: that was written.
        threads: of the CPU that one answer may use; None: all cores.

    Returns:
        A model that answers texts: `predict(texts)`; for a token classifier `entities(texts)`, too. Of a reader of
        lines one that reads images: `read(images)`, which needs Pillow.

    Raises:
        TextkdError: no such folder, a file is missing, damaged or not what was written, another version wrote it.

    Example:
        >>> from textkd import deploy
        >>> deploy.load("no-such-folder")
        Traceback (most recent call last):
        ...
        textkd.errors.TextkdError: ...
    """
    from textkd.deploy.runtime.opening import opened  # onnxruntime is an extra

    return opened(folder, threads)
