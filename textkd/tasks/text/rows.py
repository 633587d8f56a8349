"""A table -> clean rows of text_a, text_b and label, and a problem for every row that cannot be one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from textkd.errors import Problem, TextkdError, problem
from textkd.tasks.data.damaged import at, capped, how_many, note_damaged
from textkd.tasks.data.formats import Table
from textkd.tasks.text.guess import like_labels, like_texts
from textkd.tasks.text.labels import BadLabelError, LabelReader

MOST_KINDS = 5  # different faults of labels, or of texts, that are told


@dataclass(frozen=True)
class Layout:
    """The names of the columns. `label` may be several 0/1 columns (multi-label)."""

    text_a: str
    text_b: str | None
    label: str | tuple[str, ...]

    @property
    def label_columns(self) -> tuple[str, ...]:
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.text_a, *([self.text_b] if self.text_b else []), *self.label_columns)


@dataclass
class Rows:
    """Clean rows. `problems`: what is wrong with the others; `notes`: what was left out on purpose."""

    text_a: list[str] = field(default_factory=list)
    text_b: list[str] = field(default_factory=list)
    label: list[Any] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, label: Any, text_a: str, text_b: str | None = None) -> None:
        self.label.append(label)
        self.text_a.append(text_a)
        if text_b is not None:
            self.text_b.append(text_b)

    def take(self, places: Sequence[int]) -> Rows:
        """The rows at `places`, in that order."""
        text_a, text_b, label = ([c[i] for i in places] if c else [] for c in (self.text_a, self.text_b, self.label))
        return Rows(text_a, text_b, label, self.problems, list(self.notes))

    def pairs(self) -> list[tuple[str, str]]:
        """(text_a, text_b) of every row; text_b is "" where the task has none."""
        return list(zip(self.text_a, self.text_b or [""] * len(self.text_a), strict=True))


def pick_layout(table: Table, layouts: tuple[Layout, ...], shown: str) -> Layout:
    """The first layout whose columns are all there. Raises one problem for each missing column of the first."""
    for layout in layouts:
        if set(layout.columns) <= set(table.names):
            return layout
    found = f"the columns {', '.join(map(repr, table.names)) or '(none)'}"
    others = " or ".join("/".join(layout.columns) for layout in layouts)
    fix = f"columns that are read: {others}"
    if len(layouts) == 1:
        fix += "; others are named by text, text_pair, label (with textkd eval: text=COLUMN)"
    elif not any({*layout.label_columns} & {*table.names} for layout in layouts):
        fix += " (official test.tsv files come without labels)"
    in_quotes = len(layouts) == 1 and any(name[:1] == name[-1:] == '"' for name in table.names)
    if in_quotes:
        fix = "quoted: true, as its cells are in quotes"
    missing = [name for name in layouts[0].columns if name not in table.names]
    is_one = len(layouts) == 1 and not (in_quotes and {f'"{name}"' for name in missing} <= {*table.names})
    meant = {name: _meant(table, layouts[0], name) if is_one else "" for name in missing}
    raise TextkdError(*(problem(f"column {name!r} in {shown}", found, near=(name, table.names),
                                fix=f"{meant[name]}; {fix}" if meant[name] else fix) for name in missing))  # fmt: skip


def _meant(table: Table, layout: Layout, name: str) -> str:
    """What to write where a column has another name than is asked for; "" where none looks like it."""
    if name == layout.label:
        key, looks = "label", like_labels(table, layout.columns)
    elif name == layout.text_a:
        key, looks = "text", like_texts(table, layout.columns)
    else:
        return ""
    return f"write {' or '.join(f'`{key}: {column}`' for column in looks)} under `task:`" if looks else ""


def clean(
    table: Table, layout: Layout, reader: LabelReader, shown: str, *, undefined: frozenset[str], skip_damaged: bool
) -> Rows:
    """Reads every row. With `skip_damaged`, rows of a wrong shape are left out with a note instead of a problem (the
    official QQP files hold such rows); bad texts and labels are always problems. `undefined`: labels that mark a row
    without a label ("-" in MNLI and SNLI)."""
    rows = Rows()
    note_damaged(rows, table, shown, skip_damaged)
    texts_of, labels_of = dict[tuple[str, str], list[int]](), dict[tuple[str, tuple[str, ...], str], list[int]]()
    columns = {name: table.column(name) for name in layout.columns}
    labels: list[Any] = columns[layout.label] if isinstance(layout.label, str) else []
    if not isinstance(layout.label, str):
        labels = list(zip(*(columns[name] for name in layout.label), strict=True))
    texts = [(name, columns[name]) for name in layout.columns[: -len(layout.label_columns)]]
    without_label = 0
    for i, line in enumerate(table.lines):
        if str(labels[i]) in undefined:
            without_label += 1
            continue
        for name, column in texts:
            if not isinstance(column[i], str):
                texts_of.setdefault((name, _no_text(column[i])), []).append(line)
        try:
            label = reader.read(labels[i])
        except BadLabelError as error:
            labels_of.setdefault((error.found, error.near, error.fix), []).append(line)
            continue
        rows.add(label, *(column[i] for _, column in texts))
    if without_label:
        rows.notes.append(
            f"{shown}: {without_label} rows without a label ({', '.join(sorted(undefined))}) were left out"
        )
    give = 'give a string (the empty string "" is allowed)'
    bad = [Problem(f"{at(shown, table, lines)}: a text in column {name!r}", found + how_many(lines), fix=give)
           for (name, found), lines in texts_of.items()]  # fmt: skip
    rows.problems += capped(bad, shown, "texts", MOST_KINDS)
    asked = f"a label in column {', '.join(map(repr, layout.label_columns))}"
    bad = [Problem(f"{at(shown, table, lines)}: {asked}", found + how_many(lines), near, fix)
           for (found, near, fix), lines in labels_of.items()]  # fmt: skip
    rows.problems += capped(bad, shown, "labels", MOST_KINDS)
    if not rows.label and not rows.problems:
        return no_rows(shown)
    return rows


def whole(table: Table, shown: str, skip_damaged: bool) -> None:
    """Raises `TextkdError` for a table that holds nothing or is damaged: classes of what is left of it would make every
    other label a wrong one."""
    rows = Rows() if table.rows or table.damaged else no_rows(shown)
    note_damaged(rows, table, shown, skip_damaged)
    if rows.problems:
        raise TextkdError(*rows.problems)


def no_rows(shown: str) -> Rows:
    """What is wrong with data that hold nothing."""
    what, fix = "the data set has no rows (a header alone is no data)", "add rows, or give another path"
    return Rows(problems=[problem(f"rows in {shown}", what, fix=fix)])


def _no_text(cell: Any) -> str:
    return "no value" if cell is None else f"a {type(cell).__name__}: {cell!r}"
