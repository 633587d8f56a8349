"""Rows that cannot be read, as problems or as a note."""

from __future__ import annotations

import re
from collections.abc import Sequence

from textkd.errors import Problem, problem
from textkd.tasks.data.encodings import to_utf_8
from textkd.tasks.data.formats import Table
from textkd.tasks.data.holdout import Rows

MOST_LISTED, MOST_ALIKE = 8, 5  # problems of a kind, lines of each
_OWN = re.compile(r"\b0x\w\w\b|at position [0-9]+| \(['\"].*", re.DOTALL)  # what differs from row to row of one fault
READ_QUOTES = "quoted: true"  # of a file


def note_damaged(rows: Rows, table: Table, shown: str, skip: bool) -> None:
    """Damaged rows as problems of `rows`, or (skip) as a note; cells that are read with the quotes that csv wrote as a
    note."""
    damaged, fix = sorted(table.damaged), f"{READ_QUOTES} reads more of them; " if table.is_written else ""
    if table.written:
        line, cell = table.written[0]
        told = f"{len(table.written)} cells are in quotes, as csv writes them (in {table.unit} {line}: {cell[:60]}),"
        rows.notes.append(f"{shown}: {told} and are read with them; {READ_QUOTES} reads what is inside")
    if skip and damaged:
        lost = list(dict.fromkeys(table.together.get(line, line) for line, _ in damaged))
        lines = ", ".join(map(str, lost[:MOST_LISTED])) + (", ..." if len(lost) > MOST_LISTED else "")
        told = f"1 damaged {table.kind} was" if len(lost) == 1 else f"{len(lost)} damaged {table.kind}s were"
        rows.notes.append(f"{shown}: {told} left out ({table.unit} {lines})")
        rows.notes[-1] += f"; {READ_QUOTES} reads more of them" if table.is_written else ""
        return
    fix += f"repair the row, or give skip_damaged: true to leave such {table.kind}s out"
    if table.reads_as:
        fix += f"; encoding: {table.reads_as}, if all files were saved so; {to_utf_8(table.reads_as, shown)}"
    alike = dict[str, list[tuple[int, str]]]()
    for line, what in damaged:
        alike.setdefault(_OWN.sub("", what), []).append((line, what))
    problems = []
    for some in alike.values():
        places, what = [line for line, _ in some], some[0][1]
        problems.append(problem(f"{at(shown, table, places)}: a whole row", f"{what}{how_many(places)}", fix=fix))
    rows.problems += capped(problems, shown, "rows")


def at(shown: str, table: Table, lines: Sequence[int]) -> str:
    """Where the same is wrong: the first lines."""
    told = ", ".join(map(str, lines[:MOST_ALIKE])) + (", ..." if len(lines) > MOST_ALIKE else "")
    return f"{shown}, {table.unit}{'s' if len(lines) > 1 else ''} {told}"


def how_many(lines: Sequence[int]) -> str:
    """In how many rows the same is wrong, where it is in several."""
    return f" (in {len(lines):,} rows)" if len(lines) > 1 else ""


def capped(problems: list[Problem], shown: str, kind: str, most: int = MOST_LISTED) -> list[Problem]:
    """The first problems of a kind, and how many more there are: 9,000 lines of the same would hide the others."""
    rest = len(problems) - most
    return (
        problems
        if rest <= 0
        else [*problems[:most], problem(f"{kind} of {shown}", f"{rest:,} more bad {kind} like these")]
    )
