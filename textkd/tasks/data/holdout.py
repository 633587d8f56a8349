"""An eval split held out of the train rows, and a part of them that is drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from textkd.errors import Collector, Problem, fail, problem
from textkd.tasks.data.shuffled import two_parts

RowsT = TypeVar("RowsT", bound="Rows")


class Rows(Protocol):
    """Clean rows. label: of each row; problems: what is wrong with the others; notes: what was left out on purpose."""

    label: list[Any]
    problems: list[Problem]
    notes: list[str]

    def take(self: RowsT, places: Sequence[int]) -> RowsT:
        """The rows at `places`, in that order."""


def hold_out(rows: RowsT, fraction: float, seed: int, *, stratify: bool) -> tuple[RowsT, RowsT]:
    """(train, eval): a shuffled `fraction` of the rows becomes eval, the same rows for the same seed.

    With `stratify` both parts keep the shares of the classes; where a class or a part is too small for that, the split
    is drawn without it and a note says so. Raises `TextkdError` where a part would be empty.
    """
    count = len(rows.label)
    if not 0 < round(count * fraction) <= math.ceil(count * fraction) < count:
        raise fail(
            f"eval: {{fraction: {fraction}}} of {count} rows", "one part would be empty", fix="give an eval file"
        )
    train, held, note = _split(rows, math.ceil(count * fraction), seed, stratify)
    parts = rows.take(train), rows.take(held)
    if note:
        parts[1].notes.append(f"eval: {note.format(fraction)}")
    return parts


def _split(rows: Rows, held: int, seed: int, stratify: bool) -> tuple[list[int], list[int], str]:
    """Two parts of the rows' places, the second of `held` rows, and a note where the shares of the classes could not be
    kept."""
    count = len(rows.label)
    if stratify and min(Counter(rows.label).values()) > 1:
        with suppress(ValueError):  # fewer rows in a part than classes
            return *two_parts(count, held, seed, rows.label), ""
    parts = two_parts(count, held, seed)
    return *parts, f"too few rows to keep the shares of the classes in {{}} of {count} rows" if stratify else ""


def draw(rows: RowsT, count: int, seed: int, *, stratify: bool) -> RowsT:
    """`count` of the rows in their order, drawn at random, the same ones for the same seed; all, with a note, where
    there are no more. `stratify`: as in `hold_out`."""
    if count >= len(rows.label):
        found = rows.take(range(len(rows.label)))
        found.notes.append(f"train: limit: {count}, but there are only {len(rows.label)} rows")
        return found
    places, _, note = _split(rows, len(rows.label) - count, seed, stratify)
    found = rows.take(sorted(places))
    found.notes += [f"train: {note.format(count)}"] if note else []
    return found


OF_LIMIT, OF_EVAL = ("rows", "seed"), ("fraction", "seed")  # their keys
LARGEST_OF_NUMPY = 2**32 - 1


def _is_seed(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_OF_NUMPY


def parts_of(collector: Collector, eval: Any, limit: Any) -> tuple[tuple[float, int] | None, tuple[int, int] | None]:
    """(holdout, limit) of a task's options `eval` and `limit`; what is wrong with them goes into `collector`."""
    holdout, part = None, None
    with collector.collecting("eval"):
        holdout = holdout_of(eval) if isinstance(eval, Mapping) else None
    with collector.collecting("limit"):
        part = limit_of(limit)
    return holdout, part


def limit_of(value: int | Mapping[str, Any] | None) -> tuple[int, int] | None:
    """(rows, seed) of `limit: 10000` or `limit: {rows: 10000, seed: 0}`. Raises `TextkdError` for anything else."""
    if value is None:
        return None
    options = value if isinstance(value, Mapping) else {"rows": value}
    collector = Collector()
    for key in options:
        if key not in OF_LIMIT:
            collector.add(problem(f"key {key!r}", f"the keys are {', '.join(OF_LIMIT)}", near=(str(key), OF_LIMIT)))
    rows, seed = options.get("rows"), options.get("seed", 0)
    fix = "limit: 10000, or limit: {rows: 10000, seed: 0}"
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        collector.add(problem("rows: a whole number from 1", repr(rows), fix=fix))
    if not _is_seed(seed):
        collector.add(problem(f"seed: a whole number from 0 to {LARGEST_OF_NUMPY}", repr(seed), fix=fix))
    collector.raise_any()
    return int(options["rows"]), int(options.get("seed", 0))


def holdout_of(options: Mapping[str, Any]) -> tuple[float, int]:
    """(fraction, seed) of `eval: {fraction: 0.1, seed: 0}`. Raises `TextkdError` for anything else."""
    collector = Collector()
    for key in options:
        if key not in OF_EVAL:
            collector.add(problem(f"key {key!r}", f"the keys are {', '.join(OF_EVAL)}", near=(str(key), OF_EVAL)))
    fraction, seed = options.get("fraction"), options.get("seed", 0)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        collector.add(problem("fraction: a number between 0 and 1", repr(fraction), fix="fraction: 0.1, say"))
    if not _is_seed(seed):
        fix = "eval: {fraction: 0.1, seed: 0}"
        collector.add(problem(f"seed: a whole number from 0 to {LARGEST_OF_NUMPY}", repr(seed), fix=fix))
    collector.raise_any()
    return float(options["fraction"]), int(seed)
