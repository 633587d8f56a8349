"""Files of tagged words -> tables of two columns, `words` and `tags`, a sentence a row.

CoNLL columns, JSON, JSONL and parquet with lists of words and tags, and JSON of texts cut into pieces with an entity
each (the benchmark of Snips).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textkd.errors import TextkdError, fail, problem, reading
from textkd.tasks.data.contents import json_value
from textkd.tasks.data.encodings import UTF_8, decode, other_encoding
from textkd.tasks.data.formats import SUFFIXES, Dialect, Table, dialect_of, missing, read_table
from textkd.tasks.data.sources import FileSource, resolve
from textkd.tasks.tokens.schemes import other_scheme

NAMES = ("words", "tags")
KIND = "sentence"  # what a row of the table is
WORDS, TAGS = ("words", "tokens"), ("tags", "ner_tags", "labels")  # columns that are looked for
LISTS = ("json", "jsonl", "parquet")
DOCUMENT = "-DOCSTART-"
Block = tuple[int, list[tuple[int, list[str]]]]  # a sentence: its first line, and number and cells of each of its lines


@dataclass(frozen=True)
class TagFile(FileSource):
    """One file of tagged words. word, tag: its columns, by number (CoNLL; negative: from the end) or by name."""

    word: int | str | None = None
    tag: int | str | None = None

    def read(self) -> Table:
        """`words` and `tags` of every sentence; damaged ones apart. Raises `TextkdError` where none can be read."""
        with reading(f"sentences in {self.path}", fix="repair the file"):
            if not self.path.is_file():
                raise missing(self.path)
            if self.dialect.kind == "conll":
                text, bad = decode(data := self.path.read_bytes(), self.path, self.dialect.encoding)
                place = self._number(self.tag, -1)
                word, blocks = self._number(self.word, 0), list(_blocks(text))
                self._refuse_far(blocks, {"word": word, "tag": place})
                table, width = _columns(blocks, bad, word, place)
                table.reads_as = other_encoding(data) if bad else ""
                table.problems = other_scheme(table, self.path, "conll", place + width if place < -1 else place)
                return table
            if self.dialect.kind == "json" and (pieces := _pieces(self.path, self.dialect)) is not None:
                self._refuse_columns()
                return pieces
            return self._lists(read_table(self.path, self.dialect))

    def _refuse_far(self, blocks: Sequence[Block], places: dict[str, int]) -> None:
        """A column that is asked for and that no line has is no damage of the lines."""
        most = max((len(cells) for _, lines in blocks for _, cells in lines), default=0)
        fix, found = f"a number from 0 to {most - 1}, or -1 for the last", f"its lines have {most} columns"
        far = [name for name, place in places.items() if most > 1 and _least(place) > most]
        if far:
            raise TextkdError(*(problem(f"{name}: {places[name]} of {self.path}", found, fix=fix, where=name)
                                for name in far))  # fmt: skip

    def _refuse_columns(self) -> None:
        found, fix = "its texts are cut into pieces, which have no columns of these names", "leave it out"
        given = {"word": self.word, "tag": self.tag}
        wrong = [problem(f"{name}: {value!r} of {self.path}", found, fix=fix, where=name)
                 for name, value in given.items() if value is not None]  # fmt: skip
        if wrong:
            raise TextkdError(*wrong)

    def _number(self, given: int | str | None, usual: int) -> int:
        if given is None:
            return usual
        if not re.fullmatch(r"-?[0-9]{1,4}", str(given)):
            fix = "0 is the first column, -1 the last"
            raise fail(f"column {given!r} of {self.path}", "its columns have numbers, no names", fix=fix)
        return int(given)

    def _lists(self, table: Table) -> Table:
        columns, names, wrong = [], [], []
        for given, usual in ((self.word, WORDS), (self.tag, TAGS)):
            known = (str(given),) if given is not None else usual
            found = next((name for name in known if name in table.names), None)
            if found is None:
                asked, there = f"column {' or '.join(map(repr, known))} in {self.path}", table.names
                fix = "word: NAME" if usual is WORDS else "tag: NAME"
                wrong.append(problem(asked, f"the columns {', '.join(there)}", near=(known[0], there), fix=fix))
            else:
                columns.append(table.column(found))
                names.append(found)
        if wrong:
            raise TextkdError(*wrong)
        made = Table(NAMES, damaged=list(table.damaged), unit=table.unit, kind=KIND, reads_as=table.reads_as)
        for words, tags, line in zip(*columns, table.lines, strict=True):
            _add(made, words, tags, line)
        made.problems = other_scheme(made, self.path, self.dialect.kind, names[1])
        return made


@dataclass(frozen=True)
class TagFiles:
    """The files of one split, in their order."""

    parts: tuple[TagFile, ...]

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))

    def digest(self) -> str:
        """Of the content of all."""
        other = [part.dialect.encoding for part in self.parts if part.dialect.encoding != UTF_8]
        return hashlib.sha256("".join([*(part.digest() for part in self.parts), *other]).encode()).hexdigest()


def tag_files(
    paths: str | Path | Sequence[str | Path], word: int | str | None, tag: int | str | None, encoding: str = UTF_8
) -> TagFiles:
    """The files of a split: one or several. json, jsonl and parquet hold lists; what has another suffix holds CoNLL
    columns."""
    every = [paths] if isinstance(paths, str | Path) else list(paths)
    return TagFiles(tuple(TagFile(path, _dialect(path, encoding), word, tag) for path in map(resolve, every)))


def _dialect(path: Path, encoding: str) -> Dialect:
    kind = SUFFIXES.get(path.suffix.lower(), "conll")
    if kind == "csv":
        fix = "CoNLL columns under another suffix, or jsonl with lists of words and tags"
        raise fail(f"tagged words in {path}", "a csv file has one row for a text, and no sentences of words", fix=fix)
    return dialect_of(path, encoding=encoding) if kind in LISTS else Dialect("conll", encoding=encoding)


def _add(table: Table, words: Any, tags: Any, line: int) -> None:
    """A sentence, or what is wrong with it."""
    if not (_is_list(words) and (_is_list(tags) or _is_list(tags, int))):
        table.damaged.append((line, "words and tags are not both lists of strings (tags: or of whole numbers)"))
    elif len(words) != len(tags):
        table.damaged.append((line, f"{len(words)} words and {len(tags)} tags"))
    elif len(words):
        table.rows.append((list(words), list(tags)))
        table.lines.append(line)


def _is_list(value: Any, kind: type = str) -> bool:
    return isinstance(value, list | tuple) and all(type(item) is kind for item in value)


def _least(place: int) -> int:
    """The columns that a line has where there is one at `place`."""
    return place + 1 if place >= 0 else -place


def _columns(blocks: Sequence[Block], bad: dict[int, str], word: int, tag: int) -> tuple[Table, int]:
    """Sentences of CoNLL columns, and how many these are: a word a line, columns apart by tabs or spaces, a blank line
    between sentences. Every line has as many columns as most lines of the file; with another number, its sentence is
    damaged."""
    table = Table(NAMES, kind=KIND)
    counts = Counter(len(cells) for _, lines in blocks for _, cells in lines)
    usual = max(counts, key=lambda width: (counts[width], width), default=0)  # of a tie the wider: a cell was lost
    due = max(usual, 2, _least(word), _least(tag))
    for start, lines in blocks:
        ragged = [(number, cells) for number, cells in lines if number in bad or len(cells) != due]
        if not ragged:
            _add(table, [cells[word] for _, cells in lines], [cells[tag] for _, cells in lines], start)
        for number, cells in ragged:
            found = f"{len(cells)} columns where {due} are due ({' '.join(cells)!r})"
            table.damaged.append((number, bad.get(number, found)))
            table.together[number] = ragged[0][0]
    return table, due


def _blocks(text: str) -> Iterator[Block]:
    """(number of the first line, [(number, cells)]) of every sentence."""
    block: list[tuple[int, list[str]]] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        cells = [cell.strip() for cell in line.rstrip("\r").split("\t")] if "\t" in line else line.split()
        if any(cells) and cells[0] != DOCUMENT:
            block.append((number, cells))
        elif block:
            yield block[0][0], block
            block = []


def _pieces(path: Path, dialect: Dialect) -> Table | None:
    """{intent: [{"data": [{"text": ..., "entity": ...}, ...]}, ...]}: words with the tags of their pieces. None where
    the file is of another kind."""
    text, bad = decode(path.read_bytes(), path, dialect.encoding)
    try:
        value = json_value(text)
    except ValueError:
        return None
    if not (isinstance(value, dict) and all(isinstance(rows, list) for rows in value.values())):
        return None
    table = Table(NAMES, unit="record", kind=KIND)
    for number, row in enumerate((row for rows in value.values() for row in rows), start=1):
        pieces = row.get("data") if isinstance(row, dict) else None
        if not isinstance(pieces, list) or not all(
            isinstance(p, dict) and isinstance(p.get("text"), str) for p in pieces
        ):
            table.damaged.append((number, 'no "data" with a list of {"text": ..., "entity": ...}'))
        elif bad and any("�" in piece["text"] for piece in pieces):
            table.damaged.append((number, "bytes that are not UTF-8"))
        else:
            words, tags = _split(pieces)
            _add(table, words, tags, number)
    return table


def _split(pieces: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    words, tags = list[str](), list[str]()
    for piece in pieces:
        parts = piece["text"].split()
        kind = piece.get("entity")
        words += parts
        tags += [f"{'I' if i and kind else 'B'}-{kind}" if kind else "O" for i in range(len(parts))]
    return words, tags
