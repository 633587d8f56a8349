"""A data file -> a table of cells that knows the line of every row. Damaged rows are kept apart, never repaired."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from textkd.errors import Problem, TextkdError, fail, reading
from textkd.models.regular import special
from textkd.tasks.data.contents import fix_of_suffix, json_value
from textkd.tasks.data.encodings import UTF_8, decode, other_encoding
from textkd.tasks.data.parquet import read_columns
from textkd.tasks.data.quotes import is_written

SAVED = ("state.json", "dataset_dict.json")  # what `save_to_disk` writes of a Dataset, of a DatasetDict
SIGNS = (";", "\t", "|", ",")  # what columns are apart by
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".parquet": "parquet"}


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written. `headers`: a first row that holds all names of one of them is a header;
    `headerless`: the names of the columns where it is not (CoLA). encoding: of its text."""

    kind: str
    delimiter: str = "\t"
    quoted: bool = False
    headerless: tuple[str, ...] = ()
    headers: tuple[tuple[str, ...], ...] = ()
    encoding: str = UTF_8

    @property
    def is_given(self) -> bool:
        """Whether whoever names the file cannot say how it is written: that of a benchmark."""
        return bool(self.headers or self.headerless)


@dataclass
class Table:
    """Rows (each a sequence of cells) under `names`; `lines[i]` is where row i begins. `damaged`: (line, what is wrong)
    of the rows that are lost. kind: what a row is. `together`: a damaged line -> the first one of the same sentence,
    where a row is a sentence of many lines. reads_as: where lines are not UTF-8, an encoding that the whole file may
    have. written: (line, cell) of cells in quotes that are read as they stand, though csv wrote them; is_written:
    whether read with quoting fewer rows are damaged. problems: with the file as a whole, beside damaged rows."""

    names: tuple[str, ...]
    rows: list[Any] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    damaged: list[tuple[int, str]] = field(default_factory=list)
    unit: str = "line"
    kind: str = "row"
    together: dict[int, int] = field(default_factory=dict)
    reads_as: str = ""
    written: list[tuple[int, str]] = field(default_factory=list)
    is_written: bool = False
    problems: list[Problem] = field(default_factory=list)

    def column(self, name: str) -> list[Any]:
        place = self.names.index(name)
        return [row[place] for row in self.rows]


def dialect_of(path: Path, delimiter: str | None = None, quoted: bool | None = None, **more: Any) -> Dialect:
    """The dialect that the suffix of `path` stands for: csv is quoted, tsv is not; `delimiter`, `quoted` overrule."""
    if path.is_dir() or special(path):
        raise missing(path)
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n'):
        fix = 'one character, as ";" or "\\t"'
        raise fail(f"delimiter: {delimiter!r}", "not one character between columns", fix=fix)
    kind = "csv" if delimiter and path.suffix not in SUFFIXES else SUFFIXES.get(path.suffix.lower())
    if kind is None:
        found = f"the suffix {path.suffix!r}; known are {', '.join(SUFFIXES)}"
        fix = fix_of_suffix(path.suffix.lower())
        raise fail(f"data file {path}", found, near=(path.suffix, SUFFIXES), fix=fix)
    is_quoted = kind == "csv" if quoted is None else quoted
    return Dialect(kind, delimiter or ("\t" if kind == "tsv" else ","), is_quoted, **more)


def read_table(path: Path, dialect: Dialect) -> Table:
    """Reads a file. Raises `TextkdError` where no row can be read; damaged rows are listed in the table."""
    with reading(f"rows in {path}", fix="repair the file"):
        if not path.is_file():
            raise missing(path)
        if dialect.kind == "parquet":
            return _parquet(path)
        data = path.read_bytes()
        text, bad_lines = decode(data, path, dialect.encoding, dialect.is_given)
        if dialect.kind in ("csv", "tsv"):
            table = _delimited(text, bad_lines, dialect, path)
        else:
            table = _json_lines(text, bad_lines) if dialect.kind == "jsonl" else _json(text, bad_lines, path)
        table.reads_as = other_encoding(data) if bad_lines and not dialect.is_given else ""
        if not table.names and table.damaged:
            line, what = table.damaged[0]
            more = f"; encoding: {table.reads_as}, if all of it was saved so" if table.reads_as else ""
            found = f"none that can be read; {table.unit} {line}: {what}"
            raise fail(f"rows in {path}", found, fix=f"repair the file{more}")
        return table


def missing(path: Path) -> TextkdError:
    if kind := special(path):
        return fail(f"data file {path}", f"{kind}, no file", fix="give the path of a file")
    if path.is_dir():
        held = sorted(p.name for p in path.iterdir())
        fix = f"give one of its files{': ' if held else ''}{', '.join(held[:12])}"
        if set(SAVED) & set(held):
            fix = f"dataset: {path} in place of files"
            return fail(f"data file {path}", "a folder that `save_to_disk` of `datasets` wrote", fix=fix)
        return fail(f"data file {path}", "a folder", fix=fix)
    siblings = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else None
    found = "no such folder" if siblings is None else f"the folder holds {', '.join(siblings[:12]) or 'nothing'}"
    return fail(f"data file {path}", found, near=(path.name, siblings or []), fix="correct the path")


def _delimited(text: str, bad_lines: dict[int, str], dialect: Dialect, path: Path) -> Table:
    """Rows of a csv or tsv file. A row has as many cells as the header: fewer or more mean a lost or stray tab."""
    records = _quoted(text, dialect.delimiter) if dialect.quoted else _unquoted(text, dialect.delimiter)
    start, end, first = next(records, (1, 1, []))
    if isinstance(first, str):
        raise fail(f"a header in {path}", f"line {start}: {first}", fix="repair the quotes of the first line")
    named = any(set(names) <= set(first) for names in dialect.headers)
    has_header = named or len(first) != len(dialect.headerless)  # always, where no column names are given
    table = Table(tuple(first) if has_header else dialect.headerless, damaged=list(bad_lines.items()))
    if len(first) == 1 and has_header and not named and (sign := next((s for s in SIGNS if s in first[0]), None)):
        found = f"its first line has none: {first[0][:80]!r}"
        saved = f"save it with {json.dumps(dialect.delimiter)} between its columns"
        fix = saved if dialect.is_given else f"delimiter: {json.dumps(sign)}"
        raise fail(f"columns apart by {json.dumps(dialect.delimiter)} in {path}", found, fix=fix)
    _check_header(table.names, dialect, path)
    if not has_header:
        _add(table, start, end, first, bad_lines)
    for start, end, cells in records:
        _add(table, start, end, cells, bad_lines)
    if not dialect.quoted and not dialect.is_given and '"' in text:
        _look_at_quotes(table, text, bad_lines, dialect, path)
    return table


def _look_at_quotes(table: Table, text: str, bad_lines: dict[int, str], dialect: Dialect, path: Path) -> None:
    """Whether csv wrote the quotes of a table that was read without quoting: read with it, no more rows are damaged."""
    some = [(line, cell) for line, row in zip(table.lines, table.rows, strict=True) for cell in row if is_written(cell)]
    if not some and not table.damaged:
        return
    with suppress(TextkdError):
        other = _delimited(text, bad_lines, replace(dialect, quoted=True), path)
        table.is_written = len(other.damaged) < len(table.damaged)
        table.written = some if len(other.damaged) <= len(table.damaged) else []


def _check_header(names: tuple[str, ...], dialect: Dialect, path: Path) -> None:
    """Every column has a name of its own."""
    counts = Counter(names)
    if counts[""] > 1:
        places = [str(place) for place, name in enumerate(names, start=1) if not name]
        sign = "tab" if dialect.delimiter == "\t" else repr(dialect.delimiter)
        found = f"{len(places)} of the {len(names)} columns have no name: {', '.join(places[:12])}"
        fix = f"name them, or take them out: a {sign} too many at the end of each line makes such columns"
        raise fail(f"a name for each column in the header of {path}", found, fix=fix)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        found = f"the header names {', '.join(map(repr, twice))} more than once"
        raise fail(f"one column of each name in {path}", found, fix="rename or remove one of them")


def _add(table: Table, start: int, end: int, cells: list[str] | str, bad_lines: dict[int, str]) -> None:
    if isinstance(cells, str):
        table.damaged.append((start, cells))
    elif bad_lines and any(line in bad_lines for line in range(start, end + 1)):
        return  # listed as damaged already
    elif len(cells) != len(table.names):
        table.damaged.append((start, f"{len(cells)} columns where {len(table.names)} are due"))
    else:
        table.rows.append(cells)
        table.lines.append(start)


def _unquoted(text: str, delimiter: str) -> Iterator[tuple[int, int, list[str] | str]]:
    """(first line, last line, cells) without quoting (csv.QUOTE_NONE). Only \\n ends a line: GLUE texts hold other
    Unicode line breaks and lone carriage returns."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip("\r"):
            yield number, number, line.rstrip("\r").split(delimiter)


def _quoted(text: str, delimiter: str) -> Iterator[tuple[int, int, list[str] | str]]:
    """(first line, last line, cells) with csv quoting; a string instead of cells says what is wrong in that row."""
    reader = csv.reader((f"{line}\n" for line in text.split("\n")), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        limit = csv.field_size_limit(sys.maxsize)  # a setting of the whole process: put back after each row
        try:
            cells: list[str] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = f"{error} (a quote that is never closed, or text after a closing quote?)"
        finally:
            csv.field_size_limit(limit)
        if cells:
            yield start, reader.line_num, cells


def _json_lines(text: str, bad_lines: dict[int, str]) -> Table:
    records: list[tuple[int, Any]] = []
    damaged = list(bad_lines.items())
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or number in bad_lines:
            continue
        try:
            records.append((number, json_value(line)))
        except json.JSONDecodeError as error:
            damaged.append((number, f"not JSON: {error.msg} at position {error.pos + 1}"))
        except ValueError as error:
            damaged.append((number, f"JSON that cannot be read: {error}"))
    return _objects(records, damaged, "line")


def _json(text: str, bad_lines: dict[int, str], path: Path) -> Table:
    asked = f"a JSON list of objects in {path}"
    if bad_lines:
        raise fail(asked, "; ".join(f"line {line}: {what}" for line, what in list(bad_lines.items())[:8]))
    try:
        value = json_value(text)
    except json.JSONDecodeError as error:
        fix = "one object a line is jsonl: rename the file to .jsonl" if error.msg == "Extra data" else ""
        raise fail(asked, f"not JSON: {error.msg} in line {error.lineno}", fix=fix) from None
    except ValueError as error:
        raise fail(asked, f"JSON that cannot be read: {error}", fix="repair the file") from None
    if not isinstance(value, list):
        raise fail(asked, f"a JSON {type(value).__name__}", fix="write [{...}, {...}]")
    return _objects(list(enumerate(value, start=1)), [], "record")


def _objects(records: list[tuple[int, Any]], damaged: list[tuple[int, str]], unit: str) -> Table:
    """A table of JSON objects; a key that an object lacks is an empty (None) cell."""
    rows = [(number, record) for number, record in records if isinstance(record, dict)]
    damaged += [(n, f"a {type(r).__name__}, not an object") for n, r in records if not isinstance(r, dict)]
    names = tuple(dict.fromkeys(key for _, record in rows for key in record))
    cells = [[record.get(name) for name in names] for _, record in rows]
    return Table(names, cells, [number for number, _ in rows], damaged, unit)


def _parquet(path: Path) -> Table:
    columns = read_columns(path)
    rows = list(zip(*columns.values(), strict=True))
    return Table(tuple(columns), rows, list(range(1, len(rows) + 1)), unit="row")
