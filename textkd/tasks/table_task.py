"""`TableTask`: a task whose rows stand in files or data sets of the hub, read on first use and kept in memory."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from textkd.errors import Collector, fail
from textkd.tasks.data.encodings import UTF_8
from textkd.tasks.data.formats import Dialect
from textkd.tasks.data.holdout import RowsT, draw, hold_out
from textkd.tasks.data.sources import FileSource
from textkd.tasks.task import Task


class TableTask(Task):
    """Splits from `sources` (each with a `digest()`, as `textkd.tasks.data.sources.Source`).

    holdout: (fraction, seed) of the train rows that become the eval split. limit: (rows, seed) of those that are left
    to train on. stratify: both keep the shares of the classes.
    """

    def __init__(
        self, name: str, sources: Mapping[str, Any], holdout: tuple[float, int] | None,
        limit: tuple[int, int] | None, stratify: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.sources, self.holdout, self.limit = name, dict(sources), holdout, limit
        self.stratify = stratify
        self._fingerprint = ""
        self._rows: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, splits={list(self.splits)})"

    @abstractmethod
    def read(self, origin: str) -> Any:
        """The clean rows of a source by its split (see `textkd.tasks.data.holdout.Rows`), and what is wrong with the
        others."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `fingerprint` covers beside the data."""

    @property
    def splits(self) -> tuple[str, ...]:
        return (*self.sources, "eval") if self.holdout else tuple(self.sources)

    def _clean(self, split: str) -> Any:
        """The rows of a split, with their problems."""
        if split not in self.splits:
            raise fail(f"split {split!r} of {self.name}", f"it has {', '.join(self.splits)}", near=(split, self.splits))
        if split in self._rows:
            return self._rows[split]
        origin = split if split in self.sources else "train"
        self._rows |= self._parts(origin, self.read(origin))
        return self._rows[split]

    def _parts(self, origin: str, rows: RowsT) -> dict[str, RowsT]:
        """The splits that come out of the rows of one source."""
        held = self.holdout if origin == "train" else None
        if rows.problems:
            return dict.fromkeys([origin, *(["eval"] if held else [])], rows)
        parts = {origin: rows}
        if held:
            parts["train"], parts["eval"] = hold_out(rows, *held, stratify=self.stratify)
        if self.limit and origin == "train":
            parts["train"] = draw(parts["train"], *self.limit, stratify=self.stratify)
        return parts

    def rows(self, split: str) -> Any:
        """The clean rows of a split. Raises one `TextkdError` with all that is wrong in it."""
        rows = self._clean(split)
        collector = Collector()
        collector.add(*rows.problems)
        collector.raise_any()
        return rows

    def problems(self, splits: Collection[str] | None = None) -> None:
        """Reads `splits` (all by default) and raises one `TextkdError` with everything that is wrong in them: missing
        file or column, damaged rows, bytes that are not UTF-8, labels outside the classes, empty data."""
        collector = Collector()
        for split in splits or self.splits:
            with collector.collecting():
                self.rows(split)
        collector.raise_any()

    def fingerprint(self) -> str:
        """sha256 of the data files' content and this task's settings; where the files lie does not count."""
        if not self._fingerprint:
            made = self.settings()
            made["sources"] = {split: source.digest() for split, source in self.sources.items()}
            made["dialects"] = [_told(s.dialect) for s in self.sources.values() if isinstance(s, FileSource)]
            text = json.dumps(made, sort_keys=True, default=str)
            self._fingerprint = hashlib.sha256(text.encode()).hexdigest()
        return self._fingerprint


def _told(dialect: Dialect) -> dict[str, Any]:
    """A dialect for the fingerprint: UTF-8 is not told, as nothing else was read before."""
    told = asdict(dialect)
    if told["encoding"] == UTF_8:
        del told["encoding"]
    return told
