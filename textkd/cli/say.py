"""What commands print: texts on stdout, what happens meanwhile on stderr, tables as wide as they are."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import textwrap
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def tell(text: str, style: str | None = None) -> None:
    Console(stderr=True, soft_wrap=True).print(text, style=style, markup=False, highlight=False)


STALE_S = 60.0


def tell_once(text: str, style: str | None = None) -> None:
    """`tell`; of several processes of one launch on a machine, the first that comes here."""
    if "RANK" not in os.environ:
        return tell(text, style)
    launch = [os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")]
    name = hashlib.sha256(repr([os.getppid(), *launch]).encode()).hexdigest()[:16]
    mark = Path(tempfile.gettempdir()) / f"textkd-told-{name}"
    with suppress(OSError):
        if time.time() - mark.stat().st_mtime > STALE_S:  # of an earlier launch from the same shell
            mark.unlink()
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return None
    except OSError:  # no place for it: better twice than never
        pass
    return tell(text, style)


COLUMN = 28  # the least width in which a cell of more than that is read


def show(rows: list[dict[str, str]]) -> None:
    """Rows of equal keys: as a table where the terminal is wide enough for it, else each as a block of its own."""
    # a pipe has no width: a row stays one line
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    if needed(rows) <= console.width:
        console.print(as_table(rows))
    else:
        console.print("\n".join(as_blocks(rows, console.width)), markup=False, highlight=False)


def needed(rows: list[dict[str, str]]) -> int:
    """The characters that a table of rows takes, its wide columns folded no further than is read."""
    widths = [max(len(str(row[title])) for row in [dict.fromkeys(rows[0], title), *rows]) for title in rows[0]]
    return sum(min(width, COLUMN) for width in widths) + 2 * (len(widths) - 1)


def as_blocks(rows: list[dict[str, str]], width: int) -> list[str]:
    """The lines of rows that no table holds: what tells a row from the others, and below it the rest, a line or more
    for each cell that says something."""
    titles, lines = list(rows[0]), list[str]()
    heads = 1
    while heads < len(titles) and len({tuple(row[title] for title in titles[:heads]) for row in rows}) < len(rows):
        heads += 1
    for row in rows:
        lines.append(" ".join(str(row[title]) for title in titles[:heads]))
        for title in titles[heads:]:
            if str(row[title]):
                lines += textwrap.wrap(
                    f"{title}: {row[title]}", width, initial_indent="  ", subsequent_indent="    ",
                    break_on_hyphens=False,
                )  # fmt: skip
        lines.append("")
    return lines


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
