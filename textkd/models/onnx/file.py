"""How many weights an ONNX file holds and which other files it names, read from the file itself: the package `onnx` is
not needed for that.

Protocol buffers are fields of (number, kind, value); those read here are numbered as in onnx.proto: graph 7 of a model;
node 1 and initializer 5 of a graph; attribute 5 of a node; tensor 5, graph 6 (several: 10 and 11) of an attribute;
dims 1, data_type 2, external_data 13 (key 1, value 2) of a tensor. Weights are skipped over, not read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

# onnx.TensorProto: FLOAT, UINT8, INT8, FLOAT16, DOUBLE, BFLOAT16. Whole numbers of 32 and 64 bits are shapes and axes.
WEIGHTS = frozenset({1, 2, 3, 10, 11, 16})
MANIFEST = "textkd-onnx.json"  # says what an exported folder holds
GRAPH, INITIALIZER, DIMS, DATA_TYPE = 7, 5, 1, 2
NODE, ATTRIBUTE, TENSORS, GRAPHS, EXTERNAL, KEY, VALUE = 1, 5, (5, 10), (6, 11), 13, 1, 2
Span = tuple[int, int]


def weights(path: str | Path) -> int | None:
    """The number of elements of all initialisers that are weights; None where the file is no ONNX model, or keeps none
    inside. Constants of the graph's nodes are not counted."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graphs = [value for number, value in _fields(data, 0, len(data)) if number == GRAPH]
            tensors = [t for g in graphs if isinstance(g, tuple) for n, t in _fields(data, *g) if n == INITIALIZER]
            return sum(_elements(data, tensor) for tensor in tensors if isinstance(tensor, tuple)) or None
    except (OSError, ValueError, IndexError):
        return None


def outside(path: str | Path) -> list[str]:
    """The files beside an ONNX file that it takes weights from, as it names them.

    Args:
        path: of the file.

    Returns:
        Their names, each once; none where all weights are in the file.

    Raises:
        ValueError: the file is no ONNX model, or is cut.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise ValueError("an empty file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                graphs = _inside(data, (0, len(data)), GRAPH)
                return list(dict.fromkeys(name for graph in graphs for name in _named(data, graph)))
            except IndexError:
                raise ValueError("the file ends in the middle") from None


def _named(data: mmap.mmap, graph: Span) -> Iterator[str]:
    """The files that the tensors of a graph, and of the graphs inside its nodes, name."""
    tensors = list(_inside(data, graph, INITIALIZER))
    for node in _inside(data, graph, NODE):
        for attribute in _inside(data, node, ATTRIBUTE):
            tensors += _inside(data, attribute, *TENSORS)
            for inner in _inside(data, attribute, *GRAPHS):
                yield from _named(data, inner)
    for tensor in tensors:
        for entry in _inside(data, tensor, EXTERNAL):
            texts = {number: data[value[0] : value[1]] for number, value in _fields(data, *entry)
                     if isinstance(value, tuple)}  # fmt: skip
            if texts.get(KEY) == b"location":
                yield texts.get(VALUE, b"").decode("utf-8", "replace")


def _inside(data: mmap.mmap, span: Span, *numbers: int) -> Iterator[Span]:
    """Where the fields of these numbers lie that have a length."""
    for number, value in _fields(data, *span):
        if number in numbers and isinstance(value, tuple):
            yield value


def _elements(data: mmap.mmap, tensor: Span) -> int:
    count, kind = 1, 0
    for number, value in _fields(data, *tensor):
        if number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == DIMS and isinstance(value, int):
            count *= value
        elif number == DIMS and isinstance(value, tuple):  # packed
            place = value[0]
            while place < value[1]:
                size, place = _varint(data, place)
                count *= size
    return count if kind in WEIGHTS else 0


def _fields(data: mmap.mmap, place: int, end: int) -> Iterator[tuple[int, int | Span]]:
    """(number, value) of each field; of a field with a length, where its content begins and ends."""
    while place < end:
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
        elif kind == 2:
            length, place = _varint(data, place)
            if place + length > end:
                raise ValueError("no ONNX model, or one that is cut")
            yield key >> 3, (place, place + length)
            place += length
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")


def _varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
