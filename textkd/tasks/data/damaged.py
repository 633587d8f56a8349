"""Rows that cannot be read, as problems or as a note."""

from __future__ import annotations

from textkd.errors import Problem, problem
from textkd.tasks.data.formats import Table
from textkd.tasks.data.holdout import Rows

MOST_LISTED = 8


def note_damaged(rows: Rows, table: Table, shown: str, skip: bool) -> None:
    """Damaged rows as problems of `rows`, or (skip) as a note."""
    damaged = sorted(table.damaged)
    if skip and damaged:
        lost = list(dict.fromkeys(table.together.get(line, line) for line, _ in damaged))
        lines = ", ".join(map(str, lost[:MOST_LISTED])) + (", ..." if len(lost) > MOST_LISTED else "")
        told = f"1 damaged {table.kind} was" if len(lost) == 1 else f"{len(lost)} damaged {table.kind}s were"
        rows.notes.append(f"{shown}: {told} left out ({table.unit} {lines})")
        return
    fix = f"repair the row, or give skip_damaged: true to leave such {table.kind}s out"
    if table.reads_as:
        fix += f"; encoding: {table.reads_as}, if the whole file was saved so"
    problems = [problem(f"{shown}, {table.unit} {line}: a whole row", what, fix=fix) for line, what in damaged]
    rows.problems += capped(problems, shown, "rows")


def capped(problems: list[Problem], shown: str, kind: str) -> list[Problem]:
    """The first problems of a kind, and how many more there are: 9,000 lines of the same would hide the others."""
    rest = len(problems) - MOST_LISTED
    return (
        problems
        if rest <= 0
        else [*problems[:MOST_LISTED], problem(f"{kind} of {shown}", f"{rest:,} more bad {kind} like these")]
    )
