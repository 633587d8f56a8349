"""A tiny line recogniser as an ONNX file, written field by field. Colours are its letters.

It averages columns of 8 pixels: blue is the blank, green is "a", red is the space, grey (all channels equal) the blank.
Fields are numbered as in onnx.proto; int and bytes are the only kinds of values.
"""

from __future__ import annotations

import struct
from pathlib import Path

SIZES = ("batch", 3, 48, "width")


def make(path: Path, *, sizes=SIZES, characters: bytes | None = b"a", softmax: bool = True, inputs: int = 1) -> Path:
    """sizes: of the input x. characters: the list in the metadata (None: no metadata)."""
    nodes = [
        node("AveragePool", "x", "columns", kernel_shape=[48, 8], strides=[48, 8]),
        node("Squeeze", "columns", "flat", axes=[2]),
        node("Transpose", "flat", "steps", perm=[0, 2, 1]),
        node("Mul", "steps sharpness", "sharp"),
        node("Softmax" if softmax else "Identity", "sharp", "y", **({"axis": 2} if softmax else {})),
    ]
    sharpness = number(2, 1) + text(8, "sharpness") + text(9, struct.pack("<f", 20.0))
    names = ["x", *(f"other{i}" for i in range(inputs - 1))]
    graph = b"".join(text(1, one) for one in nodes) + text(2, "tiny") + text(5, sharpness)
    graph += b"".join(text(11, value(name, sizes)) for name in names)
    graph += text(12, value("y", ("batch", "steps", 3)))
    model = number(1, 6) + text(7, graph) + text(8, number(2, 11))
    if characters is not None:
        model += text(14, text(1, "character") + text(2, characters))
    path.write_bytes(model)
    return path


def node(kind: str, inputs: str, output: str, **attributes: int | list[int]) -> bytes:
    made = b"".join(text(1, name) for name in inputs.split()) + text(2, output) + text(4, kind)
    for name, given in attributes.items():
        many = isinstance(given, list)
        held = b"".join(number(8, one) for one in given) if many else number(3, given)
        made += text(5, text(1, name) + held + number(20, 7 if many else 2))
    return made


def value(name: str, sizes: tuple[str | int, ...]) -> bytes:
    shape = b"".join(text(1, number(1, s) if isinstance(s, int) else text(2, s)) for s in sizes)
    return text(1, name) + text(2, text(1, number(1, 1) + text(2, shape)))


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def text(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value
