"""A model as an ONNX graph, and whether the graph computes what the model computes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from textkd.errors import fail, said
from textkd.models.forward import forward_inputs, positions
from textkd.models.loading import quiet
from textkd.models.onnx.lstm import lstms_of_onnx

COLUMNS = ("input_ids", "attention_mask", "token_type_ids")
CLOSE = 1e-4  # of logits, beside the largest of them: what float32 in another order makes of them
SHAPES = ((1, 2), (1, 7), (2, 16), (3, 33), (8, 64), (5, 128))  # batch, tokens


class Logits(nn.Module):
    """A model that takes its columns in an order and gives its logits.

    Args:
        model: an encoder with a head.
        columns: the names of what it is given.
    """

    def __init__(self, model: nn.Module, columns: Sequence[str]) -> None:
        super().__init__()
        self.model, self.columns = model, tuple(columns)

    def forward(self, *given: Tensor) -> Any:
        """The logits: [B, C], of a token classifier [B, T, C]."""
        return self.model(**dict(zip(self.columns, given, strict=True)), return_dict=True)["logits"]


def columns_of(model: nn.Module) -> list[str]:
    """What a model's forward takes of a batch of texts."""
    return [name for name in COLUMNS if name in forward_inputs(model)]


def write_graph(model: Any, path: Path) -> None:
    """Writes an encoder as an ONNX file with dynamic batch and length.

    Args:
        model: in eval mode, float32, on the CPU.
        path: of the file.

    Raises:
        TextkdError: onnx or onnxscript is not installed, or torch cannot export the model.
    """
    reads = Logits(model, columns_of(model))
    write_module(reads, texts(model, ["logits"]), path, f"{type(model).__name__} as an ONNX graph")


def texts(model: Any, outputs: Sequence[str]) -> Sample:
    """What a module that reads a batch of texts, column by column, is exported with.

    Args:
        model: whose columns are read.
        outputs: the names of what the module gives.
    """
    columns, rows = columns_of(model), made_up_rows(model, 2, 9, torch.Generator().manual_seed(0))
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("length", min=1)}
    return Sample(columns, tuple(rows[name] for name in columns), (tuple(axes for _ in columns),), outputs)


class Sample(NamedTuple):
    """What a module is exported with.

    Args:
        names: of its inputs, lists laid flat.
        given: inputs of the kind, tensors or lists of them.
        axes: of each of `given` the dimensions that may have any size.
        outputs: the names of what it gives.
    """

    names: Sequence[str]
    given: tuple[Any, ...]
    axes: tuple[Any, ...]
    outputs: Sequence[str]


def write_module(module: nn.Module, sample: Sample, path: Path, asked: str) -> None:
    """Writes a module as an ONNX file that holds its weights itself.

    Args:
        module: float32, on the CPU.
        sample: of its inputs.
        path: of the file.
        asked: for the message.

    Raises:
        TextkdError: onnx or onnxscript is not installed, or torch cannot export the module.
    """
    exporters()
    try:
        with _silent(), torch.no_grad(), lstms_of_onnx(module):
            torch.onnx.export(
                module.eval(), sample.given, str(path), dynamo=True, external_data=False, verbose=False,
                input_names=list(sample.names), output_names=list(sample.outputs), dynamic_shapes=sample.axes,
            )  # fmt: skip
            _without_traces(path)
    except Exception as error:  # of torch's exporter, of whatever kind
        what = f"torch's exporter cannot write it: {said(error)}"
        raise fail(asked, what, fix="export as a plain folder (without --format onnx)") from error


def _without_traces(path: Path) -> None:
    """Takes out what torch's exporter writes beside the graph: the paths and lines of the code that it came from."""
    import onnx  # an extra

    made = onnx.load(path)
    parts = [made.graph, *made.graph.node, *made.graph.initializer, *made.graph.value_info, *made.graph.input,
             *made.graph.output]  # fmt: skip
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(made, path)


def exporters() -> None:
    """Raises `TextkdError` where a package that exporting needs is not installed."""
    import importlib.util

    absent = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if absent:
        raise fail("an ONNX export", f"{', '.join(absent)} not installed", fix="pip install 'textkd[onnx]'")


def parity(model: Any, session: Any, shapes: Sequence[tuple[int, int]] = SHAPES) -> dict[str, Any]:
    """The largest difference between a model's logits and those of its graph, on random rows of several shapes.

    Args:
        model: that was exported.
        session: of the graph.
        shapes: (rows, tokens) of the batches; longer than the model's positions are cut to these.

    Returns:
        {"largest_difference": of all logits, "largest_logit", "shapes"}.

    Raises:
        TextkdError: a shape does not run.
    """
    chance, worst, largest = torch.Generator().manual_seed(1), 0.0, 0.0
    columns, most = columns_of(model), positions(model)
    tried = list(dict.fromkeys((rows, min(tokens, most)) for rows, tokens in (*shapes, (1, min(most, 512)))))
    for rows, tokens in tried:
        batch = made_up_rows(model, rows, tokens, chance)
        with torch.no_grad():
            real = model(**batch, return_dict=True)["logits"]
        try:
            (answer,) = session.run(None, {name: batch[name].numpy() for name in columns})
        except Exception as error:  # of onnxruntime, of whatever kind
            what = f"it fails on {rows} rows of {tokens} tokens: {said(error)}"
            raise fail("the exported graph", what, fix="nothing was written; report it with the config.json") from error
        wanted = real.numpy()
        if wanted.ndim == 3:
            kept = batch["attention_mask"].bool().numpy()
            wanted, answer = wanted[kept], answer[kept]
        worst = max(worst, float(np.abs(answer - wanted).max()))
        largest = max(largest, float(np.abs(wanted).max()))
    return {"largest_difference": worst, "largest_logit": largest, "shapes": [list(shape) for shape in tried]}


def made_up_rows(model: Any, rows: int, tokens: int, chance: torch.Generator) -> dict[str, Tensor]:
    """Random rows; each but the first ends in padding, where there is room for some.

    Args:
        model: whose columns are made.
        rows: of the batch.
        tokens: of each row.
        chance: draws them.

    Returns:
        The columns, [rows, tokens].
    """
    config = model.config
    ids = torch.randint(config.vocab_size, (rows, tokens), generator=chance)
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        mask[row, max(1, tokens - row % 4 - 1) :] = 0
    pad = config.pad_token_id
    if pad is not None:
        # the pad id ends the sequence for some models (RoBERTa's positions), so it stays out of the valid part
        ids[ids == pad] = (pad + 1) % config.vocab_size
        ids[mask == 0] = pad
    batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: batch[name] for name in columns_of(model)}


@contextmanager
def _silent() -> Iterator[None]:
    """Without the exporter's own advice: what is wrong is raised."""
    before = logging.root.manager.disable
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
