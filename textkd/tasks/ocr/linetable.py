"""`LineTable`: lines of text as images, whatever they come from. Pixels are made when they are asked for."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from PIL import Image

from textkd.errors import Collector, Problem, problem

MOST_LISTED = 8
Origin = tuple[str, tuple[int, int] | None]


class LineTable(ABC):
    """Lines 0..len-1: `texts[i]` (None: without transcription) and `image(i)`, RGB.

    source: what messages call it. notes: what a reader of the results should know. Images are read anew at each call
    (encoded bytes stay in memory, pixels do not), so a table serves several processes and pickles.
    """

    source: str

    @property
    def notes(self) -> list[str]:
        """Empty unless there is something to tell."""
        return []

    @property
    @abstractmethod
    def texts(self) -> Sequence[str | None]:
        """The transcriptions in order."""

    def __len__(self) -> int:
        return len(self.texts)

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """Line `index` as an RGB image. Raises `TextkdError` that names the row where it cannot be read."""

    @abstractmethod
    def digest(self) -> str:
        """sha256 of the content and of the settings that choose from it; where files lie does not count."""

    def where(self, index: int) -> str:
        """What messages call line `index`."""
        return f"{self.source}, line {index + 1}"

    def origin(self, index: int) -> Origin:
        """The scan that line `index` is (or is cut from), and which of its columns; None: all."""
        return f"{self._kind} {index}", None

    @cached_property
    def _kind(self) -> str:
        return self.digest()

    def check_header(self, index: int) -> None:  # noqa: B027 - generators have nothing to check
        """Raises `TextkdError` where image `index` is none by its header. A generator makes no such images."""

    def picture(self, index: int) -> Hashable:
        """What tells the image that holds line `index` from the others of this table; lines may share one."""
        return index

    def header_problems(self) -> list[Problem]:
        """Problems of all images that can be told without decoding whole ones (about 20 us each, once for each)."""
        collector, seen = Collector(), set[Hashable]()
        for index in range(len(self)):
            if (picture := self.picture(index)) in seen:
                continue
            seen.add(picture)
            with collector.collecting():
                self.check_header(index)
        return list(dict.fromkeys(collector.problems))

    def problems(self, sample: int = 64) -> None:
        """Raises one `TextkdError` with the problems of the images: of the headers and ends of all, and of the pixels
        of the first, the last and `sample` more lines, evenly spaced. A damaged one between them is named when it is
        met."""
        collector = Collector()
        bad = self.header_problems()
        for index in spread(len(self), sample):
            with collector.collecting():
                self.image(index)
        bad, collector.problems = list(dict.fromkeys([*bad, *collector.problems])), []
        collector.add(*capped(bad, self.source, "images"))
        collector.raise_any()


def spread(length: int, sample: int) -> list[int]:
    """At most `sample` + 2 places of 0..length-1, evenly spaced, both ends among them."""
    return sorted({int(place) for place in np.linspace(0, length - 1, min(length, sample + 2))})


def capped(problems: Sequence[Problem], source: str, kind: str) -> list[Problem]:
    """The first problems of a kind, and how many more there are."""
    rest = len(problems) - MOST_LISTED
    more = [problem(f"{kind} of {source}", f"{rest:,} more bad {kind} like these")] if rest > 0 else []
    return [*problems[:MOST_LISTED], *more]


def digest_of(*settings: Any) -> str:
    """sha256 of settings that JSON can write."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


class Part(LineTable):
    """The first `limit` lines of another table (with a `seed`: that many drawn at random, in their old order),
    `repeat` times over, `unlabelled` without their texts. The other table is read on first use."""

    def __init__(
        self,
        table: LineTable,
        limit: int | None = None,
        repeat: int = 1,
        seed: int | None = None,
        unlabelled: bool = False,
    ) -> None:
        self.table, self.source = table, table.source
        self.limit, self.repeat, self.seed, self.unlabelled = limit, repeat, seed, unlabelled

    @cached_property
    def places(self) -> list[int]:
        """Line numbers of the other table."""
        count = len(self.table)
        chosen = list(range(min(self.limit or count, count)))
        if self.seed is not None and len(chosen) < count:
            drawn = np.random.default_rng((self.seed, count)).choice(count, len(chosen), replace=False)
            chosen = [int(place) for place in np.sort(drawn)]
        return chosen * self.repeat

    @property
    def notes(self) -> list[str]:
        return self.table.notes

    @cached_property
    def texts(self) -> Sequence[str | None]:
        texts = self.table.texts
        return [None if self.unlabelled else texts[place] for place in self.places]

    def image(self, index: int) -> Image.Image:
        return self.table.image(self.places[index])

    def where(self, index: int) -> str:
        return self.table.where(self.places[index])

    def origin(self, index: int) -> Origin:
        return self.table.origin(self.places[index])

    def picture(self, index: int) -> Hashable:
        return self.table.picture(self.places[index])

    def check_header(self, index: int) -> None:
        self.table.check_header(self.places[index])

    def digest(self) -> str:
        return digest_of("part", self.table.digest(), self.limit, self.repeat, self.seed, self.unlabelled)


class Joined(LineTable):
    """Several tables one after the other."""

    def __init__(self, parts: Sequence[LineTable]) -> None:
        self.parts = list(parts)
        self.source = " + ".join(dict.fromkeys(part.source for part in parts))

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(note for part in self.parts for note in part.notes))

    @cached_property
    def texts(self) -> Sequence[str | None]:
        return [text for part in self.parts for text in part.texts]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(part) for part in self.parts))

    def _place(self, index: int) -> tuple[LineTable, int]:
        number = bisect_right(self._ends, index)
        return self.parts[number], index - (self._ends[number - 1] if number else 0)

    def image(self, index: int) -> Image.Image:
        part, inner = self._place(index)
        return part.image(inner)

    def where(self, index: int) -> str:
        part, inner = self._place(index)
        return part.where(inner)

    def origin(self, index: int) -> Origin:
        part, inner = self._place(index)
        return part.origin(inner)

    def digest(self) -> str:
        return digest_of("joined", *(part.digest() for part in self.parts))

    def picture(self, index: int) -> Hashable:
        part, inner = self._place(index)
        return id(part), part.picture(inner)

    def check_header(self, index: int) -> None:
        part, inner = self._place(index)
        part.check_header(inner)
