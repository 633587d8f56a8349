"""Writes a trained encoder, or a reader of lines, as an ONNX folder that `textkd.deploy.load` opens, tried before it
appears."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from textkd.deploy import manifest
from textkd.deploy.export import new_folder, student_folder
from textkd.deploy.lines_onnx import is_reader, refuse_reader, written_lines
from textkd.deploy.manifest import MODEL, Manifest
from textkd.deploy.parts import made_by, save_words
from textkd.errors import fail
from textkd.models.as_saved import load
from textkd.models.files import at_home, write_atomic
from textkd.models.forward import positions
from textkd.models.label_names import label_names
from textkd.models.loading import load_tokenizer
from textkd.models.onnx.graph import CLOSE, columns_of, exporters, parity, write_graph
from textkd.models.onnx.int8 import MODES, NO_ROWS, quantise
from textkd.models.onnx.session import session
from textkd.models.own.door import save_config

LONGEST = 10**6  # a tokenizer without a limit says 1e30
DEFAULT_LENGTH = 128
MOST_ROWS = 512  # of a calibration


def export_onnx(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    int8: str = "",
    rows: Sequence[Any] = (),
    rows_from: str = "",
    tokenizer: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the model of `source` to the folder `out` as an ONNX graph with its tokenizer.

    A graph is compared with the model at several shapes before the folder appears; `out` is complete or not there.

    Args:
        source: a run folder (of its first seed, the model that the report is about) or a model folder.
        out: the new folder.
        int8: "dynamic" or "static"; "": float32.
        rows: texts (or pairs) that the ranges of "static" are taken from.
        rows_from: where they are from, to be written down.
        tokenizer: a folder with the tokenizer (or processor), when the model's own folder has none.
        overwrite: an exported folder that is there already is replaced.

    Returns:
        The folder.

    Raises:
        TextkdError: `out` is not empty, the model is none that is exported so, a package is missing, graph and model
            differ, or the disk is full.
    """
    folder, target = student_folder(source), Path(os.path.abspath(at_home(out)))
    exporters()
    if int8 and int8 not in MODES:
        fix = "--int8 dynamic, or --int8 static --rows FILE"
        raise fail(f"--int8 {int8}", f"not one of {', '.join(MODES)}", near=(int8, MODES), fix=fix)
    with new_folder(folder, target, overwrite, mark=manifest.FILE) as part:
        model = load(folder, asked=f"export of {folder}").float()
        words = folder if tokenizer is None else at_home(tokenizer)
        if is_reader(model):
            made = written_lines(model, words, part, int8)
        else:
            kind = _kind(model, f"{folder} as ONNX")
            made = _written(model, load_tokenizer(words), kind, part, int8, rows, rows_from)
        write_atomic(part / manifest.FILE, made.text())
    return target


def refuse(model: Any, processor: Any, asked: str) -> None:
    """Raises `TextkdError` where a model could not be exported, as far as it is known before it is trained.

    Args:
        model: of the kind.
        processor: of its rows: a tokenizer, or what prepares images too.
        asked: for the message.
    """
    exporters()
    if is_reader(model):
        refuse_reader(model, processor, asked)
    else:
        _kind(model, asked)


def _written(
    model: Any, tokenizer: Any, kind: str, part: Path, int8: str, rows: Sequence[Any], rows_from: str
) -> Manifest:
    if int8 == "static" and not rows:
        raise fail("int8 (static)", NO_ROWS, fix="--rows FILE (a text a line), or dynamic")
    save_words(tokenizer, part)
    save_config(model, part)
    graph = part / (f"float-{MODEL}" if int8 else MODEL)
    write_graph(model, graph)
    close = parity(model, session(graph, 1))
    if not close["largest_difference"] <= CLOSE * (1 + close["largest_logit"]):
        found = f"their logits differ by up to {close['largest_difference']:.1e} (of {close['largest_logit']:.1f})"
        raise fail("a graph that computes what the model computes", found, fix="report it with the config.json")
    made = Manifest(
        kind=kind, labels=label_names(model), max_length=_length(model, tokenizer), inputs=columns_of(model),
        pad=[tokenizer.pad_token_id or 0, tokenizer.pad_token or "[PAD]", tokenizer.pad_token_type_id],
        int8=int8, agreement=close, made_by=made_by(),
    )  # fmt: skip
    if int8:
        batches = _batches(tokenizer, rows[:MOST_ROWS], made)
        quantise(graph, part / MODEL, int8, batches)
        graph.unlink()
        after = parity(model, session(part / MODEL, 1))
        told = f"{len(batches)} rows of {rows_from or 'rows that were given'}" if int8 == "static" else ""
        made = replace(
            made, agreement={**close, "int8_largest_difference": after["largest_difference"]}, calibrated=told
        )
    return replace(made, sums=manifest.sums_of(part))


def _kind(model: Any, asked: str) -> str:
    """What kind of answers a model gives."""
    name = type(model).__name__
    if name.endswith("ForTokenClassification"):
        return "tokens"
    if name.endswith("ForSequenceClassification"):
        told = model.config.problem_type
        if told == "multi_label_classification":
            return "label_sets"
        return "scores" if told == "regression" or (told is None and model.config.num_labels == 1) else "classes"
    fix = "export it as a plain folder, without --format onnx"
    raise fail(asked, f"{name}: classifiers of texts and of tokens, and readers of lines are exported", fix=fix)


def _length(model: Any, tokenizer: Any) -> int:
    """Tokens of a row: as the folder says, else the default; never more than the model has positions."""
    said = getattr(tokenizer, "model_max_length", None)
    own = said if isinstance(said, int) and 0 < said < LONGEST else DEFAULT_LENGTH
    return min(own, positions(model))


def _batches(tokenizer: Any, rows: Sequence[Any], made: Manifest) -> list[dict[str, Any]]:
    """The rows, each as a batch of the graph's inputs."""
    found = []
    for row in rows:
        pair = (row,) if isinstance(row, str) else tuple(row)
        encoded = tokenizer(*pair, truncation=True, max_length=made.max_length, return_tensors="np",
                            return_token_type_ids=True)  # fmt: skip
        found.append({name: encoded[name] for name in made.inputs})
    return found
