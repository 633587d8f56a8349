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
        lines = ", ".join(str(line) for line, _ in damaged[:MOST_LISTED]) + (
            ", ..." if len(damaged) > MOST_LISTED else ""
        )
        rows.notes.append(f"{shown}: {len(damaged)} damaged rows were left out ({table.unit} {lines})")
        return
    fix = "repair the row, or give skip_damaged: true to leave such rows out"
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
