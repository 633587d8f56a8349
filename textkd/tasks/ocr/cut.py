"""Pieces of a few words, cut out of lines at the gaps between the words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from textkd.tasks.ocr.linetable import LineTable, Origin, digest_of
from textkd.tasks.ocr.marks import ink_of, word_spans

Piece = tuple[int, int, int, str]  # line, left, right, text


class Cut(LineTable):
    """The transcribed lines of another table in pieces of `words[0]` to `words[1]` words, in their order.

    Sizes are drawn by line number; a rest that is too short goes to the piece before it, and lines of fewer words stay
    whole. Lines whose gaps do not tell the words are left out, as `notes` says. All images are read on first use.
    """

    def __init__(self, table: LineTable, words: tuple[int, int]) -> None:
        self.table, self.words, self.source = table, words, table.source

    @cached_property
    def _pieces(self) -> list[Piece]:
        return [piece for line, text in enumerate(self.table.texts) if text for piece in self._of_line(line, text)]

    def _of_line(self, line: int, text: str) -> list[Piece]:
        image, words = self.table.image(line), text.split()
        spans = word_spans(ink_of(np.asarray(image.convert("L"))), len(words))
        if spans is None:
            return []
        edges = [0, *((spans[i][1] + spans[i + 1][0]) // 2 for i in range(len(words) - 1)), image.width]
        sizes = _sizes(len(words), self.words, np.random.default_rng(line))
        pieces, first = [], 0
        for size in sizes:
            margin = image.height // 4  # what is white beyond it says nothing
            left = max(edges[first], spans[first][0] - margin)
            right = min(edges[first + size], spans[first + size - 1][1] + margin)
            pieces.append((line, left, right, " ".join(words[first : first + size])))
            first += size
        return pieces

    @property
    def notes(self) -> list[str]:
        lines, texts = len({line for line, *_ in self._pieces}), sum(map(bool, self.table.texts))
        left_out = f"{texts - lines:,} of {texts:,} lines of {self.source} are left out: no clear gaps between words"
        return [*self.table.notes, *([left_out] if lines < texts else [])]

    @cached_property
    def texts(self) -> Sequence[str | None]:
        return [text for *_, text in self._pieces]

    def image(self, index: int) -> Image.Image:
        line, left, right, _ = self._pieces[index]
        image = self.table.image(line)
        return image.crop((left, 0, right, image.height))

    def where(self, index: int) -> str:
        return f"{self.table.where(self._pieces[index][0])}, {self.texts[index]!r}"

    def origin(self, index: int) -> Origin:
        line, left, right, _ = self._pieces[index]
        scan, columns = self.table.origin(line)
        before = 0 if columns is None else columns[0]
        return scan, (before + left, before + right)

    def picture(self, index: int) -> Hashable:
        return self.table.picture(self._pieces[index][0])

    def check_header(self, index: int) -> None:
        self.table.check_header(self._pieces[index][0])

    def digest(self) -> str:
        return digest_of("cut", self.table.digest(), self.words)


def _sizes(count: int, words: tuple[int, int], rng: np.random.Generator) -> list[int]:
    """Whole numbers from words[0] to words[1] that add up to `count`; the last may be larger."""
    sizes: list[int] = []
    while (rest := count - sum(sizes)) > 0:
        if rest < words[0] and sizes:
            sizes[-1] += rest
        else:
            sizes.append(min(rest, int(rng.integers(words[0], words[1] + 1))))
    return sizes
