"""The column that was meant, where there is none of the name that is asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from textkd.tasks.data.formats import Table

MOST_CLASSES, LOOKED_AT, TOLD = 50, 2000, 3  # values of a column of labels, rows that are looked at, columns told


def like_labels(table: Table, taken: Collection[str] = ()) -> list[str]:
    """The columns that look like labels: few values, each of them in two rows or more on average.

    Args:
        table: with a row or more.
        taken: columns that are something else.

    Returns:
        Their names, those of the fewest values first.

    Example:
        >>> like_labels(Table(("review", "opinion"), [["a b", "good"], ["c", "bad"], ["d", "bad"], ["e", "good"]]))
        ['opinion']
    """
    found = dict[str, int]()
    for name in table.names:
        cells = [cell for cell in table.column(name)[:LOOKED_AT] if cell is not None and cell != ""]
        values = {str(cell) for cell in cells}
        short = all(len(value) <= 60 for value in values)
        if name and name not in taken and short and 2 <= len(values) <= min(MOST_CLASSES, len(cells) // 2):
            found[name] = len(values)
    return sorted(found, key=lambda name: found[name])[:TOLD]


def like_texts(table: Table, taken: Collection[str] = ()) -> list[str]:
    """The column that looks like texts: the longest cells, of more than a word, nearly all of them different.

    Args:
        table: with a row or more.
        taken: columns that are something else.

    Example:
        >>> like_texts(Table(("review", "opinion"), [["a long film", "good"], ["a bad one", "bad"]]))
        ['review']
    """
    sizes = dict[str, float]()
    for name in table.names:
        cells: Sequence[Any] = table.column(name)[:LOOKED_AT]
        words = [cell for cell in cells if isinstance(cell, str) and " " in cell.strip()]
        if name and name not in taken and cells and 2 * len(words) >= len(cells) and len({*words}) > len(words) / 2:
            sizes[name] = sum(map(len, words)) / len(cells)
    return sorted(sizes, key=lambda name: -sizes[name])[:1]
