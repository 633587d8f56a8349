"""Weights and activations of an ONNX graph as int8, on the grid that onnxruntime computes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textkd.errors import fail, said
from textkd.models.onnx.session import package

MODES = ("dynamic", "static")
NO_ROWS = "no rows to take the ranges of activations from"
MATMULS = ("MatMul", "Gemm", "Gather")  # linear layers, and the tables of embeddings
DYNAMIC = (*MATMULS, "LSTM")


def quantise(graph: Path, out: Path, mode: str, rows: Sequence[Mapping[str, Any]] = ()) -> None:
    """Writes a graph whose linear layers and embeddings are int8.

    Weights are int8 per output channel, absmax / 127 with zero point 0. Activations are 8 bits per tensor: their range
    is taken from what comes ("dynamic"), or once from `rows` ("static").

    Args:
        graph: an ONNX file in float32.
        out: the new file.
        mode: one of `MODES`.
        rows: for "static": inputs of the graph by name, a batch each.

    Raises:
        TextkdError: onnxruntime cannot quantise the graph, or there are no rows.
    """
    quantization = package("onnxruntime.quantization")

    asked = f"int8 ({mode})"
    if mode not in MODES:
        raise fail(f"int8: {mode}", f"not one of {', '.join(MODES)}", near=(mode, MODES), fix="dynamic needs no rows")
    if mode == "static" and not rows:
        raise fail(asked, NO_ROWS, fix="give rows, or dynamic")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        if mode == "dynamic":
            quantization.quantize_dynamic(
                graph, out, op_types_to_quantize=list(DYNAMIC), per_channel=True,
                weight_type=quantization.QuantType.QInt8,
            )  # fmt: skip
        else:
            quantization.quantize_static(
                graph, out, _Reader(rows), op_types_to_quantize=list(MATMULS), per_channel=True,
                weight_type=quantization.QuantType.QInt8, activation_type=quantization.QuantType.QUInt8,
                extra_options={"ActivationSymmetric": False},
            )  # fmt: skip
    except Exception as error:  # of onnxruntime, of whatever kind
        raise fail(asked, f"onnxruntime cannot: {said(error)}", fix="export without int8") from error
    finally:
        logging.disable(before)


class _Reader:
    """Gives rows to onnxruntime's calibration, one batch after the other."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = iter([{name: np.asarray(value) for name, value in row.items()} for row in rows])

    def get_next(self) -> Any:
        """The next batch; None after the last."""
        return next(self._rows, None)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._rows)
