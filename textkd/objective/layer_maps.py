"""Which student block learns from which teacher block: maps by name, or written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from textkd.errors import Collector, fail, problem

LayerSpec = str | Mapping[int, int] | Sequence[Sequence[int]] | None
ALL = "all"  # no map: a loss of many layers gets every block of both sides
LAYER_MAPS: dict[str, Callable[[int, int], list[tuple[int, int]]]] = {
    # student block k <- teacher block round(k * T / S): evenly spread, ends in the last block (TinyBERT's g(m))
    "uniform": lambda s, t: [(k, round(k * t / s)) for k in range(1, s + 1)],
    "first": lambda s, t: [(k, k) for k in range(1, s + 1)],
    "last": lambda s, t: [(k, t - s + k) for k in range(1, s + 1)],
    # PKD-skip: uniform without the last block, which the logits already teach (Sun et al. 2019, arXiv:1908.09355)
    "skip": lambda s, t: [(k, round(k * t / s)) for k in range(1, s)],
    # one pair, half way up (FitNets' hint)
    "middle": lambda s, t: [((s + 1) // 2, round((s + 1) // 2 * t / s))],
}


def layer_map(spec: LayerSpec, student_blocks: int, teacher_blocks: int) -> list[tuple[int, int]]:
    """The (student block, teacher block) pairs of `spec`; blocks count from 1, negative ones from the end, 0 is the
    input of block 1. Whether a block is there is the models' question. Raises `TextkdError` with every bad pair."""
    written_out = read_layers(spec)
    if not isinstance(spec, str):
        return written_out
    if spec == ALL:
        found = "the loss compares one pair of blocks at a time"
        raise fail(f'layers "{ALL}"', found, fix="a layer map, or a loss of many layers", where="layers")
    if student_blocks > teacher_blocks:
        found = f"a student of {student_blocks} blocks and a teacher of {teacher_blocks}"
        raise fail(f'layers "{spec}"', found, fix="write the map out: {student block: teacher block}", where="layers")
    pairs = LAYER_MAPS[spec](student_blocks, teacher_blocks)
    if not pairs:
        found = f"no pair for a student of {student_blocks} block"
        raise fail(f'layers "{spec}"', found, fix='layers: "uniform"', where="layers")
    return pairs


def read_layers(spec: LayerSpec) -> list[tuple[int, int]]:
    """The pairs that `spec` writes out; none for a map by name. Raises `TextkdError` for an unknown name, no pair, and
    every pair that is not two block numbers."""
    if isinstance(spec, str):
        known = (*LAYER_MAPS, ALL)
        if spec not in known:
            fix = f"one of {', '.join(known)}, or {{student block: teacher block}}"
            raise fail(f'layers "{spec}"', "no such layer map", near=(spec, known), fix=fix, where="layers")
        return []
    pairs: list[Any] = list(spec.items()) if isinstance(spec, Mapping) else list(spec or ())
    found = Collector()
    if not pairs:
        found.add(problem("layers with no pair", "nothing to compare", fix='layers: "uniform"', where="layers"))
    for pair in pairs:
        if not _is_pair(pair):
            fix = "{student: teacher}, as {1: 2}"
            found.add(problem(f"layers {pair!r}", "not a pair of block numbers", fix=fix, where="layers"))
    found.raise_any()
    return [(s, t) for s, t in pairs]


def _is_pair(pair: Any) -> bool:
    is_two = isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2
    return is_two and all(type(block) is int for block in pair)
