"""`where`: the rows whose columns hold wanted values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from textkd.errors import fail
from textkd.tasks.data.formats import Table

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,300})(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")  # 01 is a text
SHOWN = 8  # values of a column


def matches(cell: Any, wanted: Any) -> bool:
    """Whether a cell holds a value: texts as they are written, numbers as numbers, booleans as booleans.

    Args:
        cell: of a file; CSV and TSV write all of them as text.
        wanted: as a recipe names it. A text beside a text is the same letters: "1.1" is not "1.10".

    Example:
        >>> matches("1.0", 1), matches("True", True), matches(1, "1.0"), matches(True, 1), matches("1.10", "1.1")
        (True, True, True, False, False)
    """
    if str(cell) == str(wanted):
        return True
    if isinstance(cell, str) and isinstance(wanted, str):
        return False
    if isinstance(cell, bool) or isinstance(wanted, bool):
        return str(cell).strip().lower() == str(wanted).strip().lower()
    number = _number(wanted)
    return number is not None and _number(cell) == number


def _number(value: Any) -> Decimal | None:
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def select(table: Table, where: Mapping[str, Any], shown: str) -> Table:
    """The rows whose columns hold the wanted values (one value, or a list of values; see `matches`)."""
    for name, wanted in where.items():
        if name not in table.names:
            found, fix = f"the columns {', '.join(table.names)}", "name a column that every file of the task has"
            raise fail(f"where: {name!r} in {shown}", found, near=(name, table.names), fix=fix)
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        cells, known = table.column(name), dict[tuple[type, str], bool]()
        for cell in cells:
            if (key := (type(cell), str(cell))) not in known:
                known[key] = any(matches(cell, value) for value in values)
        keep = [i for i, cell in enumerate(cells) if known[type(cell), str(cell)]]
        if not keep:
            counts = Counter(map(str, cells))
            found = (
                f"no such row; the column holds {', '.join(f'{v!r} ({n} rows)' for v, n in counts.most_common(SHOWN))}"
            )
            found += f" and {len(counts) - SHOWN:,} other values" if len(counts) > SHOWN else ""
            near = (str(next(iter(values), "")), counts)
            fix = f"where: {{{name}: VALUE}} with one that it holds"
            raise fail(f"where: {{{name}: {wanted}}} in {shown}", found, near=near, fix=fix)
        rows, lines = ([part[i] for i in keep] for part in (table.rows, table.lines))
        table = replace(table, rows=rows, lines=lines)
    return table
