"""What a reader read of a table of lines, kept on disk in shards that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from textkd.errors import TextkdError, fail
from textkd.models.files import refused, room_for, write_atomic, write_json
from textkd.models.processes import processes
from textkd.models.regular import regular

VERSION = 1  # of the store
Reader = Callable[[Sequence[Image.Image]], Sequence[tuple[str, float]]]
"""Images of lines -> (text, confidence 0..1) of each. Its `fingerprint() -> str` says what reads and how, so that the
readings of another one are never taken for its own."""
Row = tuple[str, float]
log = logging.getLogger("textkd")


class Lines(Protocol):
    """What is needed of a table of lines (`textkd.tasks.ocr.linetable.LineTable` has it)."""

    @property
    def texts(self) -> Sequence[str | None] | None: ...
    def __len__(self) -> int: ...
    def image(self, index: int, /) -> Image.Image: ...
    def digest(self) -> str: ...


class ReadingStore:
    """The readings of `table` by `reader` in `folder`/pseudo-<key>: `about.json` says of what, `shard-*.jsonl` hold
    {"text", "confidence"} a line."""

    def __init__(self, reader: Reader, table: Lines, folder: Path, fingerprint: str, shard_size: int) -> None:
        about = {"version": VERSION, "reader": fingerprint, "table": table.digest(), "lines": len(table)}
        self.about = {**about, "shard_size": shard_size}
        key = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()[:16]
        self.reader, self.table, self.size, self.folder = reader, table, shard_size, folder / f"pseudo-{key}"
        self.shards = -(-len(table) // shard_size)

    def complete(self) -> list[Row]:
        """The readings of all lines, those that are missing read first; by all processes of the run together."""
        state = processes()
        if state.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "about.json", self.about)
        state.wait_for_everyone()
        for shard in range(state.process_index, self.shards, state.num_processes):
            self._fill(shard)
        state.wait_for_everyone()
        return self._rows()

    def _fill(self, shard: int) -> None:
        """Reads and writes the shard unless it is there."""
        if self._load(shard) is not None:
            return
        places = self._places(shard)
        rows = _checked(self.reader([self.table.image(place) for place in places]), len(places))
        path, lines = self._path(shard), [json.dumps({"text": text, "confidence": sure}) for text, sure in rows]
        try:
            write_atomic(path, "\n".join(lines) + "\n")
        except OSError as error:
            found = refused(error, self.folder)
            fix = f"{room_for(found)} and run the same command again: what was read is kept"
            raise fail(f"save {path}", found, fix=fix) from error
        log.info("pseudo labels: shard %d of %d is read (%d lines)", shard + 1, self.shards, len(places))

    def _rows(self) -> list[Row]:
        loaded = [self._load(shard) for shard in range(self.shards)]
        missing = [str(number + 1) for number, rows in enumerate(loaded) if rows is None]
        if missing:
            found = f"{len(missing)} of {self.shards} shards are not there: {', '.join(missing[:8])}"
            fix = "all processes must see one folder: put the run on a shared disk"
            raise fail(f"pseudo labels in {self.folder}", found, fix=fix)
        return [row for rows in loaded for row in rows or ()]

    def _load(self, shard: int) -> list[Row] | None:
        """The readings of a shard; None where it is missing or damaged."""
        try:
            lines = regular(self._path(shard)).read_text(encoding="utf-8").split("\n")[:-1]
            return _checked([(row["text"], row["confidence"]) for row in map(json.loads, lines)],
                            len(self._places(shard)))  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, TextkdError):
            return None

    def _path(self, shard: int) -> Path:
        return self.folder / f"shard-{shard:05d}.jsonl"

    def _places(self, shard: int) -> range:
        return range(shard * self.size, min((shard + 1) * self.size, len(self.table)))


def fingerprint_of(reader: Reader) -> str:
    own = getattr(reader, "fingerprint", None)
    if own is None:
        fix = "pass fingerprint=<text that changes with what reads>, or give the reader a method fingerprint()"
        raise fail("pseudo labels that are kept", "a reader without fingerprint", fix=fix)
    return str(own())


def _checked(rows: Sequence[Any], count: int) -> list[Row]:
    """Rows of a reader, each a (text, confidence); texts without line breaks and outer white space."""
    asked = "a reader that gives one (text, confidence 0..1) a line"
    if len(rows) != count:
        raise fail(asked, f"{len(rows)} readings of {count} lines")
    bad = [row for row in rows if not _is_reading(row)]
    if bad:
        raise fail(asked, f"it gave {bad[0]!r} ({len(bad)} of {count} are no readings)")
    return [(" ".join(text.splitlines()).strip(), float(sure)) for text, sure in rows]


def _is_reading(row: Any) -> bool:
    try:
        text, sure = row
        # room for rounding above 1
        return isinstance(text, str) and math.isfinite(sure) and bool(0 <= sure <= 1 + 1e-6)
    except (TypeError, ValueError):
        return False
