"""An ONNX graph, opened with onnxruntime."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from textkd.errors import fail, reading
from textkd.models.onnx.file import outside


def session(
    path: Path, threads: int | None = None, spinning: bool = True, known_as: str = "model", fix: str = "",
    install: str = "",
) -> Any:  # fmt: skip
    """An `onnxruntime.InferenceSession` on the CPU.

    Args:
        path: of an ONNX file that holds its weights itself.
        threads: that one answer may use; None: all cores.
        spinning: its threads wait for the next answer without sleep; False where others work between two answers.
        known_as: what it is, for errors: "recogniser".
        fix: what to do about a file that cannot be read; "": it is exported again.
        install: what to do where onnxruntime is missing; "": it is installed by its name.

    Raises:
        TextkdError: onnxruntime is not installed, the file is no ONNX model, takes weights from other files, or needs
            what this onnxruntime cannot do.
    """
    asked = f"the {known_as} {path}"
    if threads is not None and not (type(threads) is int and 1 <= threads <= 1024):
        raise fail(f"threads={threads!r}", "not a number of CPU threads", fix="1 or more, or None for all cores")
    ort = package("onnxruntime", asked=asked if install else "", fix=install)
    with reading(asked, fix=fix or "export the model again"):
        others = outside(path)
    if others:
        found = f"it takes weights from other files ({others[0]}): they may lie anywhere"
        raise fail(asked, found, fix=fix or "export the model again: textkd writes all weights into one file")
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors alone: they are raised
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    newer = "install the onnxruntime that it was exported with (made_by in textkd-onnx.json), or newer"
    with reading(asked, fix=fix or newer):
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def package(name: str, known_as: str = "", asked: str = "", fix: str = "") -> Any:
    """A package that only exported models need.

    Args:
        name: as it is imported.
        known_as: as it is installed, where that is another name.
        asked: what needs it; "": an exported model.
        fix: what to do where it is missing; "": it is installed by its name.

    Raises:
        TextkdError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        found = f"{name} is not installed" if error.name == name else f"{name} cannot be imported: {error}"
        fix = fix or f"pip install {known_as or name}"
        raise fail(asked or "an exported model", found, fix=fix) from error
