"""Filling a cache over a data set before training: what it will take is known first, and processes share the work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from textkd.errors import TextkdError, fail, problem
from textkd.teachers.cache.store import SHARD_BYTES
from textkd.teachers.cache.teacher import CachedTeacher

PROBED = 64  # rows that the size is estimated from, and of a small data set one in 16, but 8
CHUNKS = 8  # at least, so that processes can share a small data set
MOST_ROWS = 4096  # in one chunk: what a killed process loses
AUGMENTED = problem(
    "a teacher cache", "the train images are augmented anew in every epoch, so no row comes a second time",
    fix="task.augment: false, or teacher.cache: false", where="teacher.cache",
)  # fmt: skip
Collator = Callable[[list[Any]], dict[str, Tensor]]


@dataclass(frozen=True)
class Size:
    """What a data set takes. bytes: of one row, on average; dense: the same taps as dense float32, without padding;
    there: the share of the rows' bytes that is on disk already."""

    rows: int
    bytes: float
    dense: float
    there: float

    @property
    def total(self) -> float:
        return self.rows * self.bytes

    @property
    def missing(self) -> float:
        return self.total * (1 - self.there)

    def __str__(self) -> str:
        saved = f"{shown(self.bytes)} a row (dense float32: {shown(self.dense)})"
        return f"{self.rows:,} rows, {saved}, about {shown(self.total)} in all, {self.there:.0%} of it there"


def estimate(teacher: CachedTeacher, rows: Any, collator: Collator) -> Size:
    """What the taps of all `rows` take, from up to 64 of them. Those are computed, and kept in memory: nothing is
    written."""
    count = min(PROBED, max(8, len(rows) // 16), len(rows))
    places = [i * len(rows) // count for i in range(count)]
    own = dense = there = 0.0
    seen = 0
    teacher.store.held = True
    try:
        for start in range(0, count, 8):
            batch = collator([rows[i] for i in places[start : start + 8]])
            for name, found in teacher.fill(batch).items():
                for block, i in found:
                    entry = teacher.entry(name, (block, i))
                    size = entry.bytes(i) + 16 / len(block.entries)  # and its key
                    own, there = own + size, there + (size if block.path is not None else 0)
                dense += 4 * teacher.numbers(name, batch)
            seen += len(places[start : start + 8])
            if own > SHARD_BYTES:
                break  # rows of megabytes: fewer tell enough
    finally:
        teacher.store.held = False
    return Size(len(rows), own / seen, dense / seen, there / own)


def refuse_too_large(teacher: CachedTeacher, size: Size) -> None:
    """Raises `TextkdError` if what is missing does not fit under max_gb, or on the disk; what the estimate has computed
    is forgotten then, so that nothing at all is written."""
    try:
        _check_room(teacher, size)
    except TextkdError:
        teacher.store.discard()
        raise


def _check_room(teacher: CachedTeacher, size: Size) -> None:
    folder, most = teacher.store.folder, teacher.options.max_gb
    asked = f"a teacher cache of {shown(size.total)} in {folder}"
    fix = "fewer taps, precision: int8, logits: {top_k: 64}, or cache: false"
    whole = teacher.store.written + size.missing
    if most is not None and size.missing and whole > most * 1e9:
        raise fail(asked, f"max_gb is {most:g}, and with what is there it would be {shown(whole)}",
                   fix=f"max_gb: {whole / 1e9 * 1.05:.2g}, {fix}", where="teacher.cache.max_gb")  # fmt: skip
    near = next(path for path in (folder, *folder.parents, Path.cwd()) if path.exists())
    free = shutil.disk_usage(near).free
    if size.missing * 1.02 > free:
        raise fail(asked, f"{shown(size.missing)} of it is missing, and {shown(free)} of the disk are free",
                   fix=f"free some space, cache: {{folder: ANOTHER_DISK}}, {fix}", where="teacher.cache")  # fmt: skip


def refuse_augmented(rows: Any) -> None:
    """Raises `TextkdError` if the rows change from epoch to epoch: none of them would ever be found again."""
    if getattr(rows, "augment", None) is not None:
        raise TextkdError(AUGMENTED)


def build(
    teacher: CachedTeacher,
    rows: Any,
    collator: Collator,
    batch_size: int,
    size: Size,
    progress: Callable[[int], None] = lambda rows: None,
    rank: tuple[int, int] = (0, 1),
) -> None:
    """Computes and writes what is missing of `rows`, longest first, in chunks that appear whole or not at all.

    Any number of processes may do so at once: each takes chunks that nobody works on; rank (index, count) makes those
    of one run begin at different ones. A killed one goes on with the chunks that are missing. progress: is told the
    rows that were looked after, chunk by chunk.
    """
    order, step = by_length(rows), _chunk_rows(len(rows), size.bytes, batch_size)
    chunks = [order[start : start + step] for start in range(0, len(order), step)]
    first = len(chunks) * rank[0] // rank[1]
    claims = teacher.store.folder / "claims"
    claims.mkdir(parents=True, exist_ok=True)
    taken = list[int]()

    def work(number: int) -> None:
        teacher.store.refresh()
        for start in range(0, len(chunks[number]), batch_size):
            teacher.fill(collator([rows[i] for i in chunks[number][start : start + batch_size]]))
        teacher.store.flush()
        progress(len(chunks[number]))

    for number in [*range(first, len(chunks)), *range(first)]:
        lock = FileLock(claims / f"{len(rows)}-{step}-{number}.lock")
        try:
            with lock.acquire(blocking=False):
                work(number)
        except Timeout:
            taken.append(number)
    for number in taken:  # whoever had it has ended, with it or without
        with FileLock(claims / f"{len(rows)}-{step}-{number}.lock"):
            work(number)


def by_length(rows: Any) -> list[int]:
    """Row numbers, those with the most tokens first; as they are where nobody knows."""
    if "length" not in (getattr(rows, "column_names", None) or ()):
        return list(range(len(rows)))
    lengths: Sequence[int] = rows["length"]
    return sorted(range(len(rows)), key=lambda i: -lengths[i])


def shown(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.2f} GB"


def _chunk_rows(rows: int, row_bytes: float, batch_size: int) -> int:
    most = min(SHARD_BYTES / max(row_bytes, 1), rows / CHUNKS, MOST_ROWS)
    return max(1, round(most / batch_size)) * batch_size
