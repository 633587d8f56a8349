"""Lines with other texts, and an eval split held out of the train lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from textkd.errors import Problem, fail
from textkd.tasks.ocr.linetable import LineTable, Origin, digest_of


class Chosen(LineTable):
    """Lines `indices` of another table (all, by default), and `texts` for them, such as those that a teacher read."""

    def __init__(
        self,
        table: LineTable,
        indices: Sequence[int] | None = None,
        texts: Sequence[str | None] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.table, self.source, self._notes = table, table.source, list(notes)
        self.indices = list(range(len(table)) if indices is None else indices)
        self._texts = [table.texts[i] for i in self.indices] if texts is None else list(texts)
        if len(self._texts) != len(self.indices):
            raise fail(f"a text for each of {len(self.indices)} lines of {table.source}", f"{len(self._texts)} texts")

    @property
    def notes(self) -> list[str]:
        return [*self.table.notes, *self._notes]

    @property
    def texts(self) -> Sequence[str | None]:
        return self._texts

    def image(self, index: int) -> Image.Image:
        return self.table.image(self.indices[index])

    def where(self, index: int) -> str:
        return self.table.where(self.indices[index])

    def origin(self, index: int) -> Origin:
        return self.table.origin(self.indices[index])

    def digest(self) -> str:
        return digest_of("chosen", self.table.digest(), self.indices, self._texts)

    def header_problems(self) -> list[Problem]:
        return self.table.header_problems()


def hold_out(table: LineTable, fraction: float, seed: int) -> tuple[LineTable, LineTable]:
    """(train, eval): a shuffled `fraction` of the transcribed lines; equal texts stay on one side, so that neither a
    repeated line nor a second scan of it is in both. Train lines that show a part of a held-out scan (whole lines
    beside their pieces, `words`) are left out, as the notes say."""
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
    shown = _overlapping(table, rest, chosen)
    rest = [place for place in rest if place not in shown]
    if not chosen or not rest:
        found = f"one part of {len(table):,} lines with {len(groups):,} different texts would be empty"
        raise fail(f"eval: {{fraction: {fraction}}} of {table.source}", found, fix="give eval lines of their own")
    note = f"{len(shown):,} lines of {table.source} show parts of held-out scans and are left out of training"
    return Chosen(table, rest, notes=[note] if shown else ()), Chosen(table, sorted(chosen))


def _overlapping(table: LineTable, places: Sequence[int], held: Sequence[int]) -> set[int]:
    """Those of `places` that share columns of a scan with one of `held`."""
    known: dict[str, list[tuple[int, int] | None]] = {}
    for place in held:
        scan, columns = table.origin(place)
        known.setdefault(scan, []).append(columns)
    found = set()
    for place in places:
        scan, mine = table.origin(place)
        if any(mine is None or other is None or (mine[0] < other[1] and other[0] < mine[1])
               for other in known.get(scan, ())):  # fmt: skip
            found.add(place)
    return found
