"""`textkd-onnx.json`: what an exported folder holds, so that it is run as it was tried, or refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from textkd.errors import fail
from textkd.models.onnx.file import MANIFEST

FILE, MODEL, WORDS = MANIFEST, "model.onnx", "tokenizer.json"
ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
EDITION, MOST_TOKENS = 1, 1_000_000
LINES = "lines"
KINDS = ("classes", "label_sets", "scores", "tokens", LINES)


@dataclass(frozen=True)
class Manifest:
    """What an exported folder holds.

    Args:
        kind: of its answers, one of `KINDS`: one class for each text, any number of labels, a number, a tag for each
            word, a text for each image of a line.
        labels: the names of the classes in the order of their ids; none of scores and lines.
        max_length: tokens of a row, special ones counted in; longer texts are cut.
        inputs: the (first) graph's, in its order; token_type_ids only where the model reads them.
        pad: (id, token, type id) that fills rows.
        int8: how weights and activations became int8: "dynamic", "static"; "" where all is float32.
        agreement: how far the answers are from those of the PyTorch model, measured before the folder appeared.
        calibrated: what the ranges of static activations were taken from.
        made_by: packages and their versions, and the CPU with its flags that count for int8.
        sums: [bytes, SHA-256] of every file, by name.
        lines: of lines: {"search": fields of `Search`, "images": fields of `Preparing`}.
        edition: of this file's form.
    """

    kind: str
    labels: list[str]
    max_length: int
    inputs: list[str]
    pad: list[Any]
    int8: str = ""
    agreement: dict[str, Any] = field(default_factory=dict)
    calibrated: str = ""
    made_by: dict[str, Any] = field(default_factory=dict)
    sums: dict[str, list[Any]] = field(default_factory=dict)
    lines: dict[str, Any] = field(default_factory=dict)
    edition: int = EDITION

    def text(self) -> str:
        """As it is written."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @property
    def graphs(self) -> tuple[str, ...]:
        """The files of its graphs."""
        return (ENCODER, DECODER) if self.kind == LINES else (MODEL,)

    @property
    def model_mb(self) -> float:
        """Size of its graphs with their weights, in MB (1e6 bytes)."""
        return float(sum(self.sums[name][0] for name in self.graphs)) / 1e6


def sums_of(folder: Path) -> dict[str, list[Any]]:
    """[bytes, SHA-256] of every file in a folder but the manifest, by name."""
    files = (file for file in sorted(folder.iterdir()) if file.is_file() and file.name != FILE)
    return {file.name: [file.stat().st_size, _sha256(file)] for file in files}


def is_exported(folder: Path) -> bool:
    """Whether a folder is one that `textkd export --format onnx` wrote."""
    return (folder / FILE).is_file()


def read(folder: Path) -> Manifest:
    """What a folder holds, all its files compared with their sums.

    Args:
        folder: that was exported.

    Raises:
        TextkdError: no such folder, not an exported one, of another edition, or a file that is missing or changed.
    """
    asked = f"the exported model {folder}"
    if not folder.is_dir():
        names = [one.name for one in folder.parent.iterdir()] if folder.parent.is_dir() else []
        fix = "give the folder that `textkd export RUN OUT --format onnx` wrote"
        raise fail(asked, "no such folder", near=(folder.name, names), fix=fix)
    if not is_exported(folder):
        found = f"no {FILE} in it"
        if (folder / "config.json").is_file():
            found += ": it is a folder of PyTorch"
        raise fail(asked, found, fix=f"textkd export {folder} OUT --format onnx writes one that can be opened")
    manifest = _parsed(folder / FILE, asked)
    for name, (size, total) in manifest.sums.items():
        _compare(folder, name, size, total, asked)
    return manifest


def _parsed(path: Path, asked: str) -> Manifest:
    again = "export the model again"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict):
            raise ValueError("it holds no JSON object")
    except (ValueError, OSError, RecursionError) as error:
        raise fail(asked, f"{FILE} is damaged: {error}", fix=again) from error
    edition = told.get("edition")
    if edition != EDITION:
        found = f"{FILE} is of edition {edition!r}, this textkd reads edition {EDITION}"
        raise fail(
            asked, found, fix="export the model again with the textkd that is installed here, or install the other"
        )
    try:
        manifest = Manifest(**told)
        _judge(manifest)
    except (TypeError, ValueError) as error:
        raise fail(asked, f"{FILE} is damaged: {error}", fix=again) from error
    return manifest


def _judge(one: Manifest) -> None:
    """Raises ValueError where a field is not what it has to be."""
    types = {item.name: type(value) for item in fields(one) if (value := getattr(EMPTY, item.name)) is not None}
    for name, kind in types.items():
        if not isinstance(getattr(one, name), kind) or isinstance(getattr(one, name), bool):
            raise ValueError(f"{name} is {getattr(one, name)!r}"[:200])
    if one.kind not in KINDS:
        raise ValueError(f"kind is {one.kind!r}, not one of {', '.join(KINDS)}")
    is_of_lines = one.kind == LINES
    if not all(isinstance(label, str) for label in one.labels) or bool(one.labels) is is_of_lines:
        raise ValueError("labels are not names")
    if is_of_lines and set(one.lines) != {"search", "images"}:
        raise ValueError("lines holds no search and images")
    if (
        len(one.pad) != 3
        or not 1 <= one.max_length <= MOST_TOKENS
        or not one.inputs
        or not {*one.graphs, WORDS} <= set(one.sums)
    ):
        raise ValueError("pad, max_length, inputs or sums are not complete")
    for name, told in one.sums.items():
        if not (isinstance(told, list) and len(told) == 2 and isinstance(told[0], int) and isinstance(told[1], str)):
            raise ValueError(f"the sum of {name}")
        if Path(name).name != name:
            raise ValueError(f"a file outside of the folder: {name}")


EMPTY = Manifest("classes", [], 0, [], [])


def _compare(folder: Path, name: str, size: int, total: str, asked: str) -> None:
    file, found = folder / name, ""
    if not file.is_file():
        found = f"{name} is missing"
    elif file.stat().st_size != size:
        found = f"{name} has {file.stat().st_size:,} bytes of {size:,}"
    elif _sha256(file) != total:
        found = f"{name} is not what was written (another SHA-256)"
    if found:
        raise fail(asked, found, fix="copy the folder again, whole, or export the model again")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
