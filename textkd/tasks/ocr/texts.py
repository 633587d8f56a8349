"""Transcriptions: what a cell of a text column must be, and sentences from a text file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from textkd.errors import Problem, TextkdError, fail, problem
from textkd.tasks.data.formats import Dialect, read_table
from textkd.tasks.ocr.linetable import capped

LEAVE = "correct the row, or leave such rows out; for lines without transcription: unlabelled: true"


def check_texts(cells: Iterable[tuple[str, Any]], column: str) -> tuple[list[str], list[Problem]]:
    """(place, cell) of every row -> the texts without white space at their ends, and a problem for every cell that
    is no line of text (which gives the text ""): no string, bytes that are not UTF-8, nothing but white space, a line
    break inside."""
    texts, problems = list[str](), list[Problem]()
    for place, cell in cells:
        if isinstance(cell, bytes):
            try:
                cell = cell.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{cell[error.start]:02X} at position {error.start + 1} is not UTF-8"
                problems.append(problem(f"{place}: UTF-8 text in column {column!r}", found, fix="save it as UTF-8"))
                texts.append("")
                continue
        found = _wrong(cell)
        if found:
            problems.append(problem(f"{place}: a transcription in column {column!r}", found, fix=LEAVE))
        texts.append("" if found else cell.strip())
    return texts, problems


def _wrong(cell: Any) -> str:
    if not isinstance(cell, str):
        return "no value" if cell is None else f"a {type(cell).__name__}: {cell!r}"
    text = cell.strip()
    if not text:
        return "no text" if not cell else "white space alone"
    return f"a line break inside: {cell!r}" if len(text.splitlines()) > 1 else ""


def read_sentences(path: Path) -> list[str]:
    """One sentence a line of a UTF-8 text file; empty lines are left out. Raises `TextkdError` where there are none."""
    table = read_table(path, Dialect("tsv", delimiter="\0", headerless=("text",)))
    if table.damaged:
        asked = [f"{path}, line {line}: UTF-8 text" for line, _ in table.damaged]
        bad = [problem(one, what) for one, (_, what) in zip(asked, table.damaged, strict=True)]
        raise TextkdError(*capped(bad, str(path), "lines"))
    sentences = [text.strip() for text in table.column("text") if text.strip()]
    if not sentences:
        raise fail(f"sentences in {path}", "empty lines alone", fix="write one sentence a line")
    return sentences
