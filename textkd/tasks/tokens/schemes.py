"""Tags that are no BIO: ids, which need names, and schemes that mark the ends of entities, which a line for a shell
rewrites."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from textkd.errors import Problem, problem
from textkd.tasks.data.formats import Table

AS_BIO = {"E-": "I-", "L-": "I-", "M-": "I-", "S-": "B-", "U-": "B-", "W-": "B-"}  # BIOES, BILOU, BMES, BMEWO
SCHEMES = {"L-": "BILOU", "U-": "BILOU", "M-": "BMES"}  # of the others: BIOES (IOBES)


def is_id(tag: Any) -> bool:
    """Whether a tag is a number.

    Args:
        tag: as it stands in a file.

    Example:
        >>> is_id(3), is_id("3"), is_id("O"), is_id(True)
        (True, True, False, False)
    """
    return type(tag) is int or (isinstance(tag, str) and tag.isascii() and tag.isdigit())


def ids_in(table: Table) -> list[tuple[int, int]]:
    """(line, id) of every tag that is a number.

    Args:
        table: of words and tags.
    """
    return [(line, int(tag)) for (_, tags), line in zip(table.rows, table.lines, strict=True) for tag in tags
            if is_id(tag)]  # fmt: skip


def named(table: Table, labels: Sequence[str]) -> Table:
    """A table in which names stand in the place of ids; ids that have none stay, as texts.

    Args:
        table: of words and tags.
        labels: every tag in the order of its id.

    Example:
        >>> named(Table(("words", "tags"), [(["Ada", "sings"], [1, 0])]), ["O", "B-person"]).rows
        [(['Ada', 'sings'], ['B-person', 'O'])]
    """
    names = {str(number): name for number, name in enumerate(labels)}
    rows = [(words, [names.get(str(tag), str(tag)) if is_id(tag) else tag for tag in tags])
            for words, tags in table.rows]  # fmt: skip
    return replace(table, rows=rows)


def without_names(table: Table, shown: str) -> Problem:
    """What is wrong with a table of ids, where their names are not given.

    Args:
        table: of words and tags, some of them ids.
        shown: its file.
    """
    ids = ids_in(table)
    found = f"ids up to {max(number for _, number in ids)} without names, first in {table.unit} {ids[0][0]}"
    fix = "write `labels: [O, B-PER, ...]` under `task:`, every tag in the order of its id, 0 first; "
    fix += "or tag:, if they stand in another column"
    return problem(f"tags O, B-TYPE or I-TYPE in {shown}", found, fix=fix, where="labels")


def others_of(tags: Iterable[Any]) -> dict[str, str]:
    """Beginnings of tags that another scheme has, and those that BIO has in their place.

    Args:
        tags: of a file.

    Example:
        >>> others_of(["O", "B-x", "E-x", "S-y"])
        {'E-': 'I-', 'S-': 'B-'}
    """
    begins = {tag[:2] for tag in tags if isinstance(tag, str) and len(tag) > 2}
    return {begin: other for begin, other in AS_BIO.items() if begin in begins}


def scheme_of(others: Iterable[str]) -> str:
    """The name of a scheme.

    Args:
        others: beginnings of its tags that BIO has not.

    Example:
        >>> scheme_of(["E-", "S-"]), scheme_of(["L-"])
        ('BIOES', 'BILOU')
    """
    return next((SCHEMES[begin] for begin in others if begin in SCHEMES), "BIOES")


def other_scheme(table: Table, path: Path, kind: str, column: str | int) -> list[Problem]:
    """What is wrong with a file of another scheme, and a line for a shell that writes it in BIO.

    Args:
        table: of words and tags.
        path: of the file.
        kind: of the file: conll, json, jsonl, parquet.
        column: of tags: its name, or its number from the left (conll; -1: the last).
    """
    others = others_of({tag for _, tags in table.rows for tag in tags})
    if not others:
        return []
    line, tag = next((line, tag) for (_, tags), line in zip(table.rows, table.lines, strict=True) for tag in tags
                     if isinstance(tag, str) and tag[:2] in others and len(tag) > 2)  # fmt: skip
    told = ", ".join(f"{begin} is {other}" for begin, other in others.items())
    found = f"{scheme_of(others)} tags, first {tag!r} in the sentence of {table.unit} {line}"
    new = path.with_name(f"{path.stem}-bio{path.suffix}")
    fix = f"write the tags in BIO ({told}): {rewriting(path, new, kind, column, others)}"
    return [problem(f"tags O, B-TYPE or I-TYPE in {path}", found, fix=fix)]


def rewriting(path: Path, new: Path, kind: str, column: str | int, others: dict[str, str]) -> str:
    """The line for a shell.

    Args:
        path, kind, column: as of `other_scheme`.
        new: the file that it writes.
        others: as `others_of` gives them.

    Example:
        >>> print(rewriting(Path("a.conll"), Path("b.conll"), "conll", 1, {"E-": "I-"}))
        LC_ALL=C sed -E 's/^(([^[:space:]]+[[:space:]]+){1})E-/\\1I-/' a.conll > b.conll
    """
    files = f"{shlex.quote(str(path))} > {shlex.quote(str(new))}"
    if kind == "conll":
        last = r"s/([[:space:]]){0}([^[:space:]]+[[:space:]]*)$/\1{1}\2/"
        first = rf"s/^(([^[:space:]]+[[:space:]]+){{{{{column}}}}}){{0}}/\1{{1}}/"
        script = "; ".join((last if column == -1 else first).format(*pair) for pair in others.items())
        return f"LC_ALL=C sed -E {shlex.quote(script)} {files}"
    name, pairs = json.dumps(column), json.dumps(others)
    tags = f"[{pairs}.get(t[:2], t[:2]) + t[2:] for t in row[{name}]]"
    if kind == "parquet":
        code = f"import pyarrow.parquet as p; t = p.read_table({json.dumps(str(path))}); c = {name}; "
        code += f"new = [{tags} for row in t.select([c]).to_pylist()]; "
        code += f"p.write_table(t.set_column(t.column_names.index(c), c, [new]), {json.dumps(str(new))})"
        return f"python -c {shlex.quote(code)}"
    row = f"row | {{{name}: {tags}}}"
    if kind == "json":
        code = f"json.dump([{row} for row in json.load(sys.stdin)], sys.stdout)"
    else:
        code = f"[print(json.dumps({row})) for row in map(json.loads, filter(str.strip, sys.stdin))]"
    return f"python -c {shlex.quote(f'import json, sys; {code}')} < {files}"
