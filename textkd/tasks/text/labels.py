"""From a cell of the label column to what a model learns: a class id, a score, or a 0/1 vector."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from textkd.errors import nearest

_WHOLE = re.compile(r"-?[0-9]+")


class BadLabelError(ValueError):
    """A cell that is no label: `found` says what is there instead; `near` are the labels that look like it."""

    def __init__(self, found: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(found)
        self.found, self.near = found, near


@dataclass(frozen=True)
class Classes:
    """One class of `names`. A cell is a name or, where no name is a whole number, an id 0..n-1."""

    names: tuple[str, ...]

    def read(self, cell: Any) -> int:
        value = label_text(cell)
        if value in self.names:
            return self.names.index(value)
        ids = not any(map(_WHOLE.fullmatch, self.names))  # else a stray 0 beside grades 1..5 would be grade 1
        if ids and _WHOLE.fullmatch(value) and 0 <= int(value) < len(self.names):
            return int(value)
        known = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
        known += f" (or ids 0..{len(self.names) - 1})" if ids else ""
        raise BadLabelError(f"{value!r}; the classes are {known}", nearest(value, self.names))


@dataclass(frozen=True)
class Scores:
    """A finite number, within `limits` where the task has some."""

    limits: tuple[float, float] | None = None

    def read(self, cell: Any) -> float:
        value = label_text(cell)
        try:
            score = float(value)
        except ValueError:
            raise BadLabelError(f"{value!r} is no number") from None
        if not math.isfinite(score):
            raise BadLabelError(f"{value!r} is not finite")
        if self.limits and not self.limits[0] <= score <= self.limits[1]:
            raise BadLabelError(f"{value} is outside {self.limits[0]:g}..{self.limits[1]:g}")
        return score


@dataclass(frozen=True)
class LabelSets:
    """Any number of `names`. A cell is a list of names or ids, a string joined by `separator`, or (a label made of
    several columns) one 0/1 for each name."""

    names: tuple[str, ...]
    separator: str = ","

    def read(self, cell: Any) -> list[float]:
        vector = [0.0] * len(self.names)
        if isinstance(cell, tuple):
            return [float(Classes(("0", "1")).read(value)) for value in cell]
        for member in members(cell, self.separator):
            place = Classes(self.names).read(member)
            if vector[place]:
                hint = "0/1 vectors are not read: give label: a list of 0/1 columns"
                raise BadLabelError(f"{self.names[place]!r} twice in {cell!r} ({hint})")
            vector[place] = 1.0
        return vector


LabelReader = Classes | Scores | LabelSets


def members(cell: Any, separator: str) -> Sequence[Any]:
    """The single labels of a multi-label cell; an empty string is the empty set."""
    if cell is None:
        raise BadLabelError("no label")
    if isinstance(cell, str):
        return [part.strip() for part in cell.split(separator) if part.strip()]
    if isinstance(cell, Iterable):
        return list(cell)
    return [cell]


def label_text(cell: Any) -> str:
    """A cell as the text of a label; 1, 1.0 and "1" of the various formats are the same label."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise BadLabelError("no label")
    if isinstance(cell, float) and math.isnan(cell):
        raise BadLabelError("NaN")
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, str | int | float):
        return str(cell).strip()
    raise BadLabelError(f"a {type(cell).__name__}: {cell!r}")


def names_in(cells: Iterable[Any]) -> tuple[str, ...]:
    """The label names that occur, sorted (whole numbers by value). Cells that are no label are left to the reader."""
    found = set()
    for cell in cells:
        try:
            found.add(label_text(cell))
        except BadLabelError:
            continue
    if all(name.isascii() and name.isdigit() for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))
