"""`Artifact`: what is shipped of a model, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Artifact:
    """What is shipped of a model, beside the plain Hugging Face folder that is written of every trained one.

    Args:
        name: its row in the report, and its folder in the run's `artifacts`.
        of: the model.
        format: "onnx".
        int8: "dynamic", "static"; "": float32.
        rows: training rows that the ranges of "static" are taken from.
        keep: the share of the model's main metric that it has to reach, else it is not written; None: none is asked.
    """

    name: str
    of: str
    format: str = "onnx"
    int8: str = ""
    rows: int = 256
    keep: float | None = None
