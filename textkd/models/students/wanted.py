"""The block `vocabulary` of a student: how many pieces it keeps, and which in any case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textkd.errors import Problem, problem, reading
from textkd.models.files import at_home

OPTIONS = ("from", "keep", "list")
TASK = "task"


@dataclass(frozen=True)
class Wanted:
    """Which pieces of a vocabulary a student shall keep.

    Args:
        keep: how many, the most frequent of the training texts; None: all that these have.
        file: of words or texts, one a line, whose pieces stay in any case; "": none.
    """

    keep: int | None = None
    file: str = ""

    def words(self) -> list[str]:
        """The lines of the list.

        Raises:
            TextkdError: it cannot be read.
        """
        if not self.file:
            return []
        fix = "a UTF-8 file, a word or a text a line"
        with reading(f"the list {self.file}", fix=fix, where="vocabulary.list"):
            return [line for line in Path(at_home(self.file)).read_text(encoding="utf-8").splitlines() if line.strip()]


def wanted_of(block: Any) -> Wanted | None:
    """What a block asks for; None where there is none, or it is wrong.

    Args:
        block: "task", or {"from": "task", "keep": 6000, "list": FILE}, each of which may be left out.

    Example:
        >>> wanted_of({"keep": 6000}), wanted_of("task"), wanted_of(None)
        (Wanted(keep=6000, file=''), Wanted(keep=None, file=''), None)
    """
    if block is None or wanted_problems(block):
        return None
    given = {} if block == TASK else block
    return Wanted(given.get("keep"), given.get("list") or "")


def wanted_problems(block: Any) -> list[Problem]:
    """What is wrong with a block `vocabulary`.

    Args:
        block: as it was written; None: there is none.
    """
    if block is None or block == TASK:
        return []
    if not isinstance(block, Mapping):
        fix = "vocabulary: task, or {keep: 6000}"
        return [problem(f"student vocabulary: {block!r}", "not a block of keys", fix=fix, where="vocabulary")]
    found = [
        problem(f"student vocabulary key {key}", "no such key", near=(key, OPTIONS), fix=f"keys: {', '.join(OPTIONS)}",
                where=f"vocabulary.{key}")
        for key in map(str, block) if key not in OPTIONS
    ]  # fmt: skip
    source, keep, words = block.get("from", TASK), block.get("keep"), block.get("list")
    if source != TASK:
        what = "pieces are counted in the training texts of the task"
        found.append(problem(f"vocabulary from: {source!r}", what, fix="from: task", where="vocabulary.from"))
    if keep is not None and (type(keep) is not int or not 1 <= keep <= 10**7):
        what = "not a number of pieces"
        fix = "keep: 6000, say, or leave it out for all that the training texts have"
        found.append(problem(f"vocabulary keep: {keep!r}", what, fix=fix, where="vocabulary.keep"))
    if words is not None and (not isinstance(words, str) or not words.strip()):
        fix = "a file of words, one a line"
        found.append(problem(f"vocabulary list: {words!r}", "not a file", fix=fix, where="vocabulary.list"))
    return found
