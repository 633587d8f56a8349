"""From a cell of the label column to what a model learns: a class id, a score, or a 0/1 vector."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from textkd.errors import nearest

_WHOLE = re.compile(r"(-?[0-9]{1,18})(?:\.0*)?")  # 1, 1. and 1.0 are one number, and one label
_DIGITS = re.compile(r"[0-9]+")
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
# a list as Python, JSON or numpy print it: members in quotes, or numbers
_MEMBER = re.compile(rf"{_QUOTED}|-?[0-9.]+")
_LIST = re.compile(rf"\[\s*(?:(?:{_MEMBER.pattern})(?:(?:\s*,\s*|\s+)(?:{_MEMBER.pattern}))*\s*,?\s*)?\]")
_VECTOR = re.compile(r"[01]([\s;|/]*[01])*")
SIGNS = (";", "|", ",", "/", "+", "&")  # that may stand between the labels of a cell
LARGEST = 3.4e38  # of float32
_OPEN = re.compile(r"""^[\[('"]|[\])'"]$""")


IN_FILE = "correct the label in the file"
OR_LIST = f"{IN_FILE}; where labels: [...] is given, it names every class"
NO_NUMBER = f"{IN_FILE}; type: classification, if these are names of classes"
OR_NAME_ALL = f"{IN_FILE}; the classes are those of train: labels: [...] with all of them keeps one that train lacks"


class BadLabelError(ValueError):
    """A cell that is no label: `found` says what is there instead; `near` are the labels that look like it; `fix` what
    to do about it."""

    def __init__(self, found: str, near: tuple[str, ...] = (), fix: str = IN_FILE) -> None:
        super().__init__(found)
        self.found, self.near, self.fix = found, near, fix


@dataclass(frozen=True)
class Classes:
    """One class of `names`. A cell is a name or, where no name holds a number of its own, an id 0..n-1. fix: what to do
    about another one."""

    names: tuple[str, ...]
    fix: str = IN_FILE

    @cached_property
    def _places(self) -> dict[str, int]:
        return {label_text(name): place for place, name in reversed(list(enumerate(self.names)))}

    @cached_property
    def ids(self) -> bool:
        """Whether ids are read: beside `1 star` and `2 stars`, or grades 1..5, a 1 would be the second class. LABEL_0
        and LABEL_1 mean the same as their ids."""
        return all(set(map(int, _DIGITS.findall(name[:100]))) <= {place} for place, name in enumerate(self.names))

    def read(self, cell: Any) -> int:
        value = label_text(one_of(cell))
        if value in self._places:
            return self._places[value]
        if self.ids and value.isascii() and value.isdigit() and len(value) < 10 and int(value) < len(self.names):
            return int(value)
        known = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
        known += f" (or ids 0..{len(self.names) - 1})" if self.ids else ""
        sign, fix = next((sign for sign in SIGNS if is_joined(value, self.names, sign)), ""), self.fix
        if sign:
            fix = f"type: multi_label with label_separator: {sign!r} reads several labels of a cell; {fix}"
        raise BadLabelError(f"{value!r}; the classes are {known}", nearest(value, self.names), fix)


@dataclass(frozen=True)
class Scores:
    """A finite number, within `limits` where the task has some."""

    limits: tuple[float, float] | None = None

    def read(self, cell: Any) -> float:
        value = label_text(one_of(cell))
        try:
            score = float(value)
        except ValueError:
            raise BadLabelError(f"{value!r} is no number", fix=NO_NUMBER) from None
        if "_" in value:  # 1_000 is a number in Python alone
            raise BadLabelError(f"{value!r} is no number")
        if not math.isfinite(score):
            raise BadLabelError(f"{value!r} is not finite")
        if abs(score) > LARGEST:
            raise BadLabelError(f"{value} is larger than any number that models compute with, {LARGEST:g}")
        if self.limits and not self.limits[0] <= score <= self.limits[1]:
            raise BadLabelError(f"{value} is outside {self.limits[0]:g}..{self.limits[1]:g}")
        return score


@dataclass(frozen=True)
class LabelSets:
    """Any number of `names`. A cell is a list of names or ids, a string joined by `separator`, or (a label made of
    several columns) one 0/1 for each name."""

    names: tuple[str, ...]
    separator: str = ","
    fix: str = IN_FILE

    def read(self, cell: Any) -> list[float]:
        vector = [0.0] * len(self.names)
        if isinstance(cell, tuple):
            return [float(Classes(("0", "1")).read(value)) for value in cell]
        given = members(cell, self.separator)
        if self._is_vector(given):
            return [float(label_text(member)) for member in given]
        for member in given:
            place = Classes(self.names, self.fix).read(member)
            if vector[place]:
                raise BadLabelError(f"{self.names[place]!r} twice in {cell!r}")
            vector[place] = 1.0
        return vector

    def _is_vector(self, given: Sequence[Any]) -> bool:
        """Whether a cell holds a 0 or 1 for each name. Of two names, 0 and 1 could be their ids as well: refused."""
        if len(given) != len(self.names) or len(given) < 2 or {*map(label_text, self.names)} & {"0", "1"}:
            return False
        if not all(isinstance(one, str | int | float) and label_text(one) in ("0", "1") for one in given):
            return False
        if len(given) == 2:
            raise BadLabelError(f"{list(given)}: a 0/1 vector, or two ids?", fix=VECTOR)
        return True


@dataclass(frozen=True)
class Unjudged:
    """Of classes that are not known, as the train data are damaged: nothing is said of a label, but where there is
    none. separator: between the labels of a cell, where a row may have several."""

    separator: str | None = None

    def read(self, cell: Any) -> int:
        if not isinstance(cell, tuple):
            for one in [one_of(cell)] if self.separator is None else members(cell, self.separator):
                label_text(one)
        return 0


VECTOR = "write the names of the labels, or one 0/1 column for each label: label: [first, second]"
LabelReader = Classes | Scores | LabelSets | Unjudged


def members(cell: Any, separator: str) -> Sequence[Any]:
    """The single labels of a multi-label cell; an empty string is the empty set, and a list written as text is read as
    that list."""
    if cell is None:
        raise BadLabelError("no label")
    if isinstance(cell, str):
        if (written := written_list(cell)) is not None:
            return written
        parts = [part.strip() for part in cell.split(separator) if part.strip()]
        if len(parts) > 1 and any(_OPEN.search(part) for part in (parts[0], parts[-1])):
            fix = "write the labels apart by the separator, or as ['first', 'second']"
            raise BadLabelError(f"{cell!r}: a list that cannot be read", fix=fix)
        return parts
    if isinstance(cell, list | tuple | set | frozenset):
        return list(cell)
    return [cell]


def written_list(text: str) -> list[Any] | None:
    """The list that a text such as "['billing', 'damage']" or "[1 0]" writes; None where it writes none."""
    text = text.strip()
    if not text.startswith("[") or len(text) > 100_000 or not _LIST.fullmatch(text):
        return None
    return [one[1:-1] if one[0] in "'\"" else one for one in _MEMBER.findall(text)]


def one_of(cell: Any) -> Any:
    """The label of a cell that holds a list of one; else the cell."""
    inner = written_list(cell) if isinstance(cell, str) else cell if isinstance(cell, list | tuple) else None
    if inner is not None and len(inner) == 1:
        return inner[0]
    if isinstance(cell, list | tuple):
        raise BadLabelError(f"{len(cell)} labels in one cell: {cell!r}", fix="type: multi_label reads lists of labels")
    return cell


def label_text(cell: Any) -> str:
    """A cell as the text of a label, by the one rule of all formats and files: 1, 1.0, "1" and "1.0" are one label, and
    so are the two ways in which Unicode writes an accent."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise BadLabelError("no label")
    if isinstance(cell, float) and not math.isfinite(cell):
        raise BadLabelError("NaN" if math.isnan(cell) else "not a finite number")
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, str | int | float):
        text = unicodedata.normalize("NFC", str(cell).strip())
        number = _WHOLE.fullmatch(text)
        return number[1] if number and number[1] != "-0" else text
    raise BadLabelError(f"a {type(cell).__name__}: {cell!r}")


def names_in(cells: Iterable[Any]) -> tuple[str, ...]:
    """The label names that occur, as they are written where all write one alike, sorted (whole numbers by value). Cells
    that are no label are left to the reader."""
    found: dict[str, set[str]] = {}
    for cell in cells:
        try:
            text = label_text(cell := one_of(cell))
        except BadLabelError:
            continue
        found.setdefault(text, set()).add(cell.strip() if isinstance(cell, str) else text)
    order = sorted(found, key=int) if all(map(_WHOLE.fullmatch, found)) else sorted(found)
    return tuple(next(iter(found[name])) if len(found[name]) == 1 else name for name in order)


def are_vectors(lists: Iterable[Sequence[Any]], names: Sequence[str]) -> bool:
    """Whether multi-label cells hold nothing but zeros and ones, and more than one of them somewhere."""
    several = any(len(some) > 1 for some in lists) or any(len(name) > 1 for name in names)
    return several and all(map(_VECTOR.fullmatch, names))


def joined(names: Sequence[str]) -> tuple[str, list[str]] | None:
    """(sign, names) of those that are made of others of these names, by one sign; None where there are none.

    Args:
        names: of classes.

    Example:
        >>> joined(["billing", "damage", "billing;damage"]), joined(["red, hot", "red"])
        ((';', ['billing;damage']), None)
    """
    for sign in SIGNS:
        if some := [name for name in names if is_joined(name, names, sign)]:
            return sign, some
    return None


def is_joined(name: str, names: Sequence[str], sign: str) -> bool:
    """Whether a name is made of two or more others.

    Args:
        name: of a class.
        names: of all of them.
        sign: that stands between.

    Example:
        >>> is_joined("a|b", ["a", "b"], "|"), is_joined("a|c", ["a", "b"], "|")
        (True, False)
    """
    parts = [part.strip() for part in name.split(sign)]
    return len(parts) > 1 and {*parts} <= {*names}


def twins(names: Sequence[str]) -> list[str]:
    """Names that differ in nothing but case, blanks, characters that nobody sees or how Unicode writes their letters,
    as "A and a"."""
    alike: dict[str, list[str]] = {}
    for name in names:
        letters = unicodedata.normalize("NFKC", name)
        seen = "".join(one for one in letters if unicodedata.category(one) not in ("Cf", "Cc"))
        plain = " ".join(seen.casefold().replace("_", " ").split())
        alike.setdefault(plain, []).append(name)
    return [" and ".join(map(repr, some)) for some in alike.values() if len(some) > 1]
