"""Lines with other texts, and an eval split held out of the train lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from textkd.errors import Problem, fail
from textkd.tasks.ocr.linetable import LineTable, digest_of


class Chosen(LineTable):
    """Lines `indices` of another table (all, by default), and `texts` for them, such as those that a teacher read."""

    def __init__(
        self, table: LineTable, indices: Sequence[int] | None = None, texts: Sequence[str | None] | None = None
    ) -> None:
        self.table, self.source = table, table.source
        self.indices = list(range(len(table)) if indices is None else indices)
        self._texts = [table.texts[i] for i in self.indices] if texts is None else list(texts)
        if len(self._texts) != len(self.indices):
            raise fail(f"a text for each of {len(self.indices)} lines of {table.source}", f"{len(self._texts)} texts")

    @property
    def notes(self) -> list[str]:
        return self.table.notes

    @property
    def texts(self) -> Sequence[str | None]:
        return self._texts

    def image(self, index: int) -> Image.Image:
        return self.table.image(self.indices[index])

    def where(self, index: int) -> str:
        return self.table.where(self.indices[index])

    def digest(self) -> str:
        return digest_of("chosen", self.table.digest(), self.indices, self._texts)

    def header_problems(self) -> list[Problem]:
        return self.table.header_problems()


def hold_out(table: LineTable, fraction: float, seed: int) -> tuple[LineTable, LineTable]:
    """(train, eval): a shuffled `fraction` of the transcribed lines; equal texts stay on one side, so that neither a
    repeated line nor a second scan of it is in both."""
    by_text: dict[str, list[int]] = {}
    for place, text in enumerate(table.texts):
        if text is not None:
            by_text.setdefault(text, []).append(place)
    groups = list(by_text.values())
    wanted = round(fraction * sum(map(len, groups)))
    chosen: list[int] = []
    for number in np.random.default_rng(seed).permutation(len(groups)):
        if len(chosen) >= wanted:
            break
        chosen += groups[number]
    rest = sorted(set(range(len(table))) - set(chosen))
    if not chosen or not rest:
        found = f"one part of {len(table):,} lines with {len(groups):,} different texts would be empty"
        raise fail(f"eval: {{fraction: {fraction}}} of {table.source}", found, fix="give eval lines of their own")
    return Chosen(table, rest), Chosen(table, sorted(chosen))
