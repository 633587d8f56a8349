"""Lines of a data set of the Hugging Face hub, or of a folder that `datasets.load_dataset` reads or `save_to_disk`
wrote."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
from PIL import Image

from textkd.errors import Collector, TextkdError, fail, problem, reading
from textkd.models.images import check_image, open_image
from textkd.tasks.data.formats import Table
from textkd.tasks.data.sources import load_split
from textkd.tasks.ocr.files import COLUMNS
from textkd.tasks.ocr.linetable import LineTable, Origin, capped, digest_of
from textkd.tasks.ocr.texts import check_texts
from textkd.tasks.text.where import select


class HubLines(LineTable):
    """One split; downloaded (or found in the cache of `datasets`) on first use, images stay encoded in its Arrow files.

    Raises `TextkdError` on first use: the hub cannot be reached, no such data set or column, texts that are none.
    """

    def __init__(
        self,
        dataset: str,
        config: str | None = None,
        split: str = "train",
        image: str = "image",
        text: str = "text",
        where: Mapping[str, Any] | None = None,
        unlabelled: bool = False,
    ) -> None:
        self.dataset, self.config, self.split = os.path.expanduser(dataset), config, split
        self.source = "/".join(part for part in (dataset, config, split) if part)
        self._image, self._text, self._where, self._unlabelled = image, text, dict(where or {}), unlabelled
        self._known: Any = None  # the rows, or why there are none

    @property
    def _rows(self) -> Any:
        if isinstance(self._known, TextkdError):
            raise self._known  # the hub was asked once
        if self._known is None:
            try:
                self._known = self._read()
            except TextkdError as error:
                self._known = error
                raise
        return self._known

    def _read(self) -> Any:
        rows = self._load()
        names = rows.column_names
        due = [self._image, *([] if self._unlabelled else [self._text])]
        found = f"the columns {', '.join(map(repr, names))}"
        fix = COLUMNS.format("dataset: ID")
        missing = [name for name in due if name not in names]
        if missing:
            asked = [f"column {name!r} in {self.source}" for name in missing]
            pairs = zip(asked, missing, strict=True)
            raise TextkdError(*(problem(one, found, near=(name, names), fix=fix) for one, name in pairs))
        if isinstance(rows.features[self._image], datasets.Image):
            rows = rows.cast_column(self._image, datasets.Image(decode=False))
        return self._chosen(rows)

    def _load(self) -> Any:
        here = os.path.exists(self.dataset)
        fix = "split: another one" if here else "reach https://huggingface.co, or read files: {path: ...}"
        kind = "the data set" if here else "the hub's data set"
        with reading(f"split {self.split!r} of {kind} {self.dataset!r}", fix=fix):
            return load_split(self.dataset, self.config, self.split)

    def _chosen(self, rows: Any) -> Any:
        if not self._where:
            return rows
        names = tuple(name for name in self._where if name in rows.column_names)
        columns = [_named(rows.features[name], rows[name][:]) for name in names]
        cells = list(zip(*columns, strict=True)) or [()] * len(rows)
        table = select(Table(names, cells, list(range(len(rows)))), self._where, self.source)
        return rows.select(table.lines)

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def texts(self) -> Sequence[str | None]:
        rows = self._rows
        if not len(rows):
            raise fail(f"rows in {self.source}", "the data set has no rows")
        if self._unlabelled:
            return [None] * len(rows)
        cells = ((self.where(index), cell) for index, cell in enumerate(rows[self._text][:]))
        texts, bad = check_texts(cells, self._text)
        if bad:
            raise TextkdError(*capped(bad, self.source, "texts"))
        return texts

    def problems(self, sample: int = 64) -> None:
        _ = self._rows  # where there are none, neither texts nor images are to be looked at
        collector = Collector()
        with collector.collecting():
            _ = self.texts
        with collector.collecting():
            super().problems(sample)
        collector.raise_any()

    def where(self, index: int) -> str:
        return f"{self.source}, row {index + 1}"

    def origin(self, index: int) -> Origin:
        return f"{self.where(index)} of {self._where}", None

    def image(self, index: int) -> Image.Image:
        return open_image(self._rows[int(index)][self._image], self.where(index))

    def check_header(self, index: int) -> None:
        check_image(self._rows[index][self._image], self.where(index))

    def digest(self) -> str:
        digest = hashlib.sha256()
        for cell in self._rows.select_columns([self._image]):
            data = cell[self._image]
            inner = data.get("bytes") or data.get("path") if isinstance(data, Mapping) else data
            if isinstance(inner, str) and Path(inner).is_file():
                inner = Path(inner).read_bytes()
            digest.update(hashlib.sha256(inner if isinstance(inner, bytes) else str(inner).encode()).digest())
        return digest_of("hub", digest.hexdigest(), list(self.texts))


def _named(feature: Any, values: list[Any]) -> list[Any]:
    """Class ids as their names, so that a filter can be written with either files' or the hub's words."""
    names = feature.names if isinstance(feature, datasets.ClassLabel) else []
    return [names[v] if names and v is not None and 0 <= v < len(names) else v for v in values]
