"""Writes a trained encoder as an ONNX folder that `textkd.deploy.load` answers with, tried before it appears."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from textkd.deploy import manifest
from textkd.deploy.export import load_student, new_folder, student_folder
from textkd.deploy.graphs import CLOSE, columns_of, exporters, parity, write_graph
from textkd.deploy.int8 import MODES, NO_ROWS, quantise
from textkd.deploy.manifest import MODEL, WORDS, Manifest
from textkd.deploy.runtime.session import session
from textkd.errors import fail
from textkd.models.cpu import cpu
from textkd.models.files import at_home, write_atomic
from textkd.models.forward import positions
from textkd.models.label_names import label_names
from textkd.models.loading import load_tokenizer

LONGEST = 10**6  # a tokenizer without a limit says 1e30
DEFAULT_LENGTH = 128
MOST_ROWS = 512  # of a calibration
# texts that tokenizers may cut otherwise: capitals, accents, other scripts, blanks, numbers, nothing, pairs
TRIED = (
    ("A plain sentence, nothing more.",), ("Été ÀÉÎ  straße\tİstanbul\n",), ("日本語 and русский",), ("",), ("   ",),
    ("e\u0301 \u00a0 \u200b 1,234.50 $ don't",), ("[MASK] <mask> </s> 👩‍👩‍👧",), ("first part", "the second"),
)  # fmt: skip


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

    The graph is compared with the model at several shapes before the folder appears; `out` is complete or not there.

    Args:
        source: a run folder (of its first seed, the model that the report is about) or a model folder.
        out: the new folder.
        int8: "dynamic" or "static"; "": float32.
        rows: texts (or pairs) that the ranges of "static" are taken from.
        rows_from: where they are from, to be written down.
        tokenizer: a folder with the tokenizer, when the model's own folder has none.
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
    if int8 == "static" and not rows:
        raise fail("int8 (static)", NO_ROWS, fix="--rows FILE (a text a line), or dynamic")
    with new_folder(folder, target, overwrite, mark=manifest.FILE) as part:
        model = load_student(folder).float()
        kind = _kind(model, folder)
        words = load_tokenizer(at_home(tokenizer) if tokenizer is not None else folder)
        made = _written(model, words, kind, part, int8, rows, rows_from)
        write_atomic(part / manifest.FILE, made.text())
    return target


def _written(
    model: Any, tokenizer: Any, kind: str, part: Path, int8: str, rows: Sequence[Any], rows_from: str
) -> Manifest:
    if not getattr(tokenizer, "is_fast", False):
        found = f"{type(tokenizer).__name__} has no tokenizer.json"
        raise fail("an ONNX export", found, fix="give a folder with a tokenizer.json with --tokenizer")
    _save_words(tokenizer, part)
    model.config.save_pretrained(part)
    graph = part / (f"float-{MODEL}" if int8 else MODEL)
    write_graph(model, graph)
    close = parity(model, session(graph, 1))
    if not close["largest_difference"] <= CLOSE * (1 + close["largest_logit"]):
        found = f"their logits differ by up to {close['largest_difference']:.1e} (of {close['largest_logit']:.1f})"
        raise fail("a graph that computes what the model computes", found, fix="report it with the config.json")
    made = Manifest(
        kind=kind, labels=label_names(model), max_length=_length(model, tokenizer), inputs=columns_of(model),
        pad=[tokenizer.pad_token_id or 0, tokenizer.pad_token or "[PAD]", tokenizer.pad_token_type_id],
        int8=int8, agreement=close, made_by=_made_by(),
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


def _save_words(tokenizer: Any, part: Path) -> None:
    """Writes the tokenizer as transformers computes with it, and tries whether its file alone cuts texts alike."""
    tokenizer.save_pretrained(part)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(part / WORDS))
    alone = Tokenizer.from_file(str(part / WORDS))
    for text in TRIED:
        one, other = tokenizer(*text)["input_ids"], alone.encode(*text).ids
        if one != other:
            found = f"tokenizer.json alone cuts {text!r} into {other}, transformers into {one}"
            raise fail("an ONNX export", found, fix="report it with the folder's tokenizer files")


def _kind(model: Any, folder: Path) -> str:
    """What kind of answers a model gives."""
    name, asked = type(model).__name__, f"{folder} as ONNX"
    if name.endswith("ForTokenClassification"):
        return "tokens"
    if name.endswith("ForSequenceClassification"):
        told = model.config.problem_type
        if told == "multi_label_classification":
            return "label_sets"
        return "scores" if told == "regression" or (told is None and model.config.num_labels == 1) else "classes"
    fix = "export it as a plain folder, without --format onnx"
    raise fail(asked, f"{name}: classifiers of texts and of tokens are exported", fix=fix)


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


def _made_by() -> dict[str, Any]:
    names = ("textkd", "torch", "transformers", "onnx", "onnxruntime", "tokenizers")
    return {**{name: version(name) for name in names}, "cpu": cpu()}
