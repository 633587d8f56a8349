"""The classes of a text task, from its train data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from textkd.errors import TextkdError, fail
from textkd.tasks.data.formats import Table
from textkd.tasks.text.labels import BadLabelError, Unjudged, are_vectors, joined, members, names_in
from textkd.tasks.text.rows import Layout, clean, pick_layout, whole

SHOWN = 5  # joined names in a message


def classes_of(
    table: Table, layouts: tuple[Layout, ...], separator: str | None, shown: str, skip_damaged: bool
) -> tuple[str, ...]:
    """The sorted names of the classes.

    Args:
        table: of train rows.
        layouts: as `pick_layout` takes them.
        separator: between the labels of a cell, where a row may have several; else None.
        shown: the file, for messages.
        skip_damaged: whether damaged rows are left out.

    Raises:
        TextkdError: damaged rows; cells that are no labels, where hardly a class is left beside them; fewer than two
            classes; vectors without names; labels joined by another sign.
    """
    layout, several = pick_layout(table, layouts, shown), separator is not None
    whole(table, shown, skip_damaged)
    label = layout.label
    if not isinstance(label, str):
        return label
    cells, lists = table.column(label), list[Sequence[Any]]()
    if separator is not None:
        lists = list(_lists(cells, separator))
        cells = [member for some in lists for member in some]
    names = names_in(cells)
    if several and are_vectors(lists, names):
        fix = "labels: [...], a name for each place; or one 0/1 column for each label: label: [first, second]"
        what = "nothing but 0 and 1: vectors without names?"
        raise fail(f"labels in column {label!r} of {shown}", what, fix=fix)
    if len(names) < (1 if several else 2):
        unread = clean(table, layout, Unjudged(separator), shown, undefined=frozenset(), skip_damaged=skip_damaged)
        if unread.problems:  # why there are no more of them
            raise TextkdError(*unread.problems)
        fix = "check label: and where:, or give labels: [...]"
        asked, found = f"two classes or more in column {label!r} of {shown}", f"only {', '.join(names) or 'none'}"
        raise fail(asked, found, fix=fix)
    if several and (found_joined := joined(names)):
        sign, some = found_joined
        fix = f"label_separator: {sign!r}; or labels: [...] with all names, if these are labels of their own"
        what = f"{told(some)}: made of other labels, joined by {sign!r}"
        raise fail(f"labels apart by {separator!r} in column {label!r} of {shown}", what, fix=fix)
    return names


def _lists(cells: Iterable[Any], separator: str) -> Iterator[Sequence[Any]]:
    """The labels of each cell; cells that hold none are left to the reader."""
    for cell in cells:
        with suppress(BadLabelError):
            yield members(cell, separator)


def told(names: Sequence[str]) -> str:
    """The first names, for a message."""
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
