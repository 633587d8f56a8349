"""What commands print: texts on stdout, what happens meanwhile on stderr, tables as wide as they are."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
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
