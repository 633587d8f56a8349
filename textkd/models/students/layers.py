"""Which of the teacher's blocks a student takes. Blocks are numbered 1..L; negative numbers count from the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textkd.errors import Collector, fail, problem

LAYER_CHOICES = ("uniform", "first", "last")


def uniform_layers(teacher_blocks: int, n: int) -> list[int]:
    """Blocks that are spread evenly and end in the last one: student block k takes block round(k * L / n).

    The same rule as the layer map "uniform" of a match: student block k is compared with the block it came from.

    Args:
        teacher_blocks: L, how many there are.
        n: how many are taken.

    Returns:
        Numbers in 1..L, rising.

    Raises:
        TextkdError: n is not a whole number from 1 to L.

    Example:
        >>> uniform_layers(6, 3)
        [2, 4, 6]
    """
    _check_count(teacher_blocks, n)
    return [round(k * teacher_blocks / n) for k in range(1, n + 1)]


def first_layers(teacher_blocks: int, n: int) -> list[int]:
    """The first n blocks, rising; arguments and errors as of `uniform_layers`.

    Example:
        >>> first_layers(6, 3)
        [1, 2, 3]
    """
    _check_count(teacher_blocks, n)
    return list(range(1, n + 1))


def last_layers(teacher_blocks: int, n: int) -> list[int]:
    """The last n blocks, rising; arguments and errors as of `uniform_layers`.

    Example:
        >>> last_layers(6, 3)
        [4, 5, 6]
    """
    _check_count(teacher_blocks, n)
    return list(range(teacher_blocks - n + 1, teacher_blocks + 1))


def choose_layers(teacher_blocks: int, layers: str | Sequence[int], n_layers: int | None = None) -> list[int]:
    """The block numbers that `layers` means.

    Args:
        teacher_blocks: L, how many there are.
        layers: "uniform", "first" or "last" together with `n_layers`, or the block numbers themselves (negative from
            the end).
        n_layers: how many are taken, where `layers` is a word.

    Returns:
        Numbers in 1..L, in the given order.

    Raises:
        TextkdError: with every bad number: out of range, or twice; no block; an unknown word, or one without
            `n_layers`.

    Example:
        >>> choose_layers(6, "last", 2), choose_layers(6, [1, -1])
        ([5, 6], [1, 6])
    """
    asked = f"student layers {layers!r}"
    if isinstance(layers, str):
        choices = {"uniform": uniform_layers, "first": first_layers, "last": last_layers}
        if layers not in choices:
            fix = f"one of {', '.join(choices)}, or a list of block numbers"
            raise fail(asked, "no such choice of layers", near=(layers, choices), fix=fix)
        if n_layers is None:
            raise fail(asked, "no number of layers", fix=f"add n_layers: 1 to {teacher_blocks}")
        return choices[layers](teacher_blocks, n_layers)
    if not isinstance(layers, Sequence) or not all(type(k) is int for k in layers):
        example = uniform_layers(teacher_blocks, max(1, teacher_blocks // 2))
        raise fail(asked, "not a list of block numbers", fix=f"for example {example}, or layers: uniform with n_layers")
    return _block_numbers(teacher_blocks, layers, n_layers)


def choose_side(teacher_blocks: int, layers: int | Sequence[int] | None) -> list[int]:
    """The block numbers (1..L) of one side of an encoder-decoder: that many (uniform), these, or all for None."""
    if layers is None:
        return list(range(1, teacher_blocks + 1))
    if type(layers) is int:
        return uniform_layers(teacher_blocks, layers)
    if isinstance(layers, bool | str) or not isinstance(layers, Sequence):
        example = uniform_layers(teacher_blocks, max(1, teacher_blocks // 2))
        fix = f"block numbers such as {example}, how many of the {teacher_blocks}, or nothing for all"
        raise fail(f"student layers {layers!r}", "neither block numbers nor how many", fix=fix)
    return choose_layers(teacher_blocks, layers)


def _block_numbers(teacher_blocks: int, layers: Sequence[Any], n_layers: int | None) -> list[int]:
    asked = f"student layers {list(layers)}"
    wrong = Collector()
    if not layers:
        wrong.add(problem(asked, "an empty list", fix=f"name at least one of the blocks 1 to {teacher_blocks}"))
    bad = [k for k in layers if not 1 <= abs(k) <= teacher_blocks]
    if bad:
        fix = f"use 1 to {teacher_blocks}, or -1 to -{teacher_blocks} from the end"
        wrong.add(
            problem(
                asked, f"the model it is made of has {teacher_blocks} blocks, not {', '.join(map(str, bad))}", fix=fix
            )
        )
    chosen = [k if k > 0 else teacher_blocks + 1 + k for k in layers if k not in bad]
    twice = sorted({k for k in chosen if chosen.count(k) > 1})
    if twice:
        fix = "name each block once (negative numbers count from the end)"
        wrong.add(problem(asked, f"block {', '.join(map(str, twice))} more than once", fix=fix))
    if n_layers is not None and n_layers != len(layers):
        found = f"{len(layers)} layers and n_layers {n_layers}"
        wrong.add(problem(asked, found, fix="leave n_layers out when you name the blocks"))
    wrong.raise_any()
    return chosen


def _check_count(teacher_blocks: int, n: int) -> None:
    if type(n) is not int or not 1 <= n <= teacher_blocks:
        found = f"the model it is made of has {teacher_blocks} blocks"
        raise fail(f"a student of {n!r} blocks", found, fix=f"use 1 to {teacher_blocks}")
