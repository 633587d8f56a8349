"""One way to say what is wrong: asked, found, nearest names, fix. Many problems travel in one error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    asked: what the user asked for, in the user's words. found: what is there instead. nearest: names that exist
    and look like it. fix: what to do. where: the dotted path in the recipe (``matches[1].loss``), if there is one.
    """

    asked: str
    found: str
    nearest: tuple[str, ...] = ()
    fix: str = ""
    where: str = ""

    def __str__(self) -> str:
        head = f"{self.where}: " if self.where else ""
        lines = [f"{head}asked: {self.asked}", f"  found: {self.found}"]
        if self.nearest:
            lines.append(f"  nearest: {', '.join(self.nearest)}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class TextkdError(Exception):
    """The user's input (recipe, files, models, data) cannot work. Carries every problem that was found."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__(*problems)

    def __str__(self) -> str:
        body = "\n".join(str(problem) for problem in self.problems)
        return body if len(self.problems) == 1 else f"{len(self.problems)} problems\n{body}"


def problem(
    asked: str, found: str, *, near: tuple[str, Iterable[str]] | None = None, fix: str = "", where: str = ""
) -> Problem:
    """A `Problem`; `near=(name, names)` looks up the nearest of `names`."""
    return Problem(asked, found, nearest(*near) if near else (), fix, where)


def fail(
    asked: str, found: str, *, near: tuple[str, Iterable[str]] | None = None, fix: str = "", where: str = ""
) -> TextkdError:
    """A `TextkdError` with one problem, to be raised."""
    return TextkdError(problem(asked, found, near=near, fix=fix, where=where))


def nearest(name: str, names: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """The names that look most like `name`, best first."""
    return tuple(difflib.get_close_matches(str(name), [str(n) for n in names], n=most, cutoff=0.5))


class Collector:
    """Collects problems so that all of them are told at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, *problems: Problem) -> None:
        self.problems.extend(problems)

    @contextmanager
    def collecting(self, where: str = "") -> Iterator[None]:
        """Keeps the problems of a `TextkdError` raised inside; they and those added inside get the path `where`."""
        before = len(self.problems)
        try:
            yield
        except TextkdError as error:
            self.add(*error.problems)
        finally:
            self.problems[before:] = [replace(p, where=_join(where, p.where)) for p in self.problems[before:]]

    def raise_any(self) -> None:
        if self.problems:
            raise TextkdError(*dict.fromkeys(self.problems))


def _join(outer: str, inner: str) -> str:
    if not outer or not inner:
        return outer or inner
    return f"{outer}{inner}" if inner.startswith("[") else f"{outer}.{inner}"
