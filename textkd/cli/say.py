"""What commands print: texts on stdout, what happens meanwhile on stderr, tables as wide as they are."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def tell(text: str, style: str | None = None) -> None:
    Console(stderr=True, soft_wrap=True).print(text, style=style, markup=False, highlight=False)


def show(table: Table) -> None:
    # a pipe has no width: a row stays one line
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def say(lines: list[str]) -> None:
    from textkd.models.processes import processes

    if processes().is_main_process:
        for line in lines:
            tell(line)


def as_table(rows: list[dict[str, str]]) -> Table:
    """Rows of equal keys as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, title in enumerate(rows[0]):
        table.add_column(title, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row.values()))
    return table
