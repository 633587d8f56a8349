"""Code of somebody's own in a run (losses, layer maps, tasks): a hash of what it says, so that a changed one is seen.

A function is known by its source without comments, by the constants, functions and classes of one's own that it names,
and so on; libraries are known by their versions, and textkd by its own.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import sys
import textwrap
import tokenize
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from textkd.losses.registry import FAMILIES, get, names
from textkd.objective.match import Match

PLAIN = (str, bytes, int, float, complex, bool, type(None))
MOST = 2000  # things that are looked at; more are a whole library


def own_code(made_of: Any) -> str:
    """A hash of all code of somebody's own inside.

    Args:
        made_of: settings, matches, tasks, functions, in whatever lists and dataclasses.

    Returns:
        16 hex digits; "" where all code is textkd's or a library's.

    Example:
        >>> def mine(student, teacher, mask=None):
        ...     return (student - teacher).abs().mean()
        >>> mine.__module__ = "my_losses"  # here it is textkd's
        >>> len(own_code([Match("hidden", loss=mine)]))
        16
        >>> own_code([Match("hidden", loss="mse")])
        ''
    """
    read = _Reader()
    for one in _things(made_of):
        read.look(one)
    return hashlib.sha256("\n".join(sorted(read.texts)).encode()).hexdigest()[:16] if read.texts else ""


def _things(made_of: Any) -> Iterator[Any]:
    """What may be somebody's own: functions, and objects for their classes."""
    if isinstance(made_of, PLAIN):
        return
    if isinstance(made_of, Mapping):
        made_of = list(made_of.values())
    if isinstance(made_of, list | tuple | set | frozenset):
        for value in made_of:
            yield from _things(value)
        return
    yield made_of
    if isinstance(made_of, Match) and isinstance(made_of.loss, str):
        yield from (get(made_of.loss, family).fn for family in FAMILIES if made_of.loss in names(family))
    if is_dataclass(made_of) and not isinstance(made_of, type):
        yield from _things([getattr(made_of, one.name) for one in fields(made_of)])


class _Reader:
    """Collects the texts of code and of all that it names."""

    def __init__(self) -> None:
        self.texts = set[str]()
        self.seen = dict[int, Any]()  # held, so that no other object gets its id

    def look(self, thing: Any) -> None:
        """Reads `thing`, if it is code of one's own."""
        if isinstance(thing, functools.partial):
            self._all([thing.func, *thing.args, *thing.keywords.values()])
        thing = inspect.unwrap(thing) if callable(thing) else thing
        thing = getattr(thing, "__func__", thing)
        held = None
        if not isinstance(thing, types.FunctionType | type):
            held, thing = thing, type(thing)
        if callable(held) and _is_own(thing):
            given = {name: value for name, value in vars(held).items() if name[0] != "_" and name != "training"}
            self._values("given", [(name, value) for name, value in given.items() if isinstance(value, PLAIN)])
        if id(thing) in self.seen or len(self.seen) > MOST or not _is_own(thing):
            return
        self.seen[id(thing)] = thing
        if isinstance(thing, type):
            self._class(thing)
        else:
            self._function(thing)

    def _all(self, things: Iterable[Any]) -> None:
        for one in filter(callable, things):
            self.look(one)

    def _class(self, kind: type) -> None:
        self._all(kind.__bases__)
        for name, value in vars(kind).items():
            value = getattr(value, "fget", None) or getattr(value, "func", None) or value  # properties, kept or not
            value = getattr(value, "__func__", value)
            if isinstance(value, types.FunctionType):
                if value.__module__ == kind.__module__:  # else it is what a decorator made, as of a dataclass
                    self.look(value)
            elif not name.startswith("__") and (words := _words(value)) is not None:
                self.texts.add(f"{kind.__qualname__}.{name} = {words}")

    def _function(self, function: types.FunctionType) -> None:
        self.texts.add(f"{function.__qualname__}: {_source(function)}")
        self._values("default", function.__defaults__ or ())
        self._values("default", (function.__kwdefaults__ or {}).values())
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_full(cell)]
        self._values("held", cells)
        self._all(cells)
        self._named(function.__globals__, set(_used(function.__code__)))

    def _named(self, where: Mapping[str, Any], used: set[str]) -> None:
        for name in sorted(used & where.keys()):
            value = where[name]
            if isinstance(value, types.ModuleType):
                if id(value) not in self.seen and _is_own(value):
                    self.seen[id(value)] = value
                    self._named(vars(value), used)
            elif callable(value):
                self.look(value)
            elif (words := _words(value)) is not None:
                self.texts.add(f"{name} = {words}")

    def _values(self, what: str, values: Iterable[Any]) -> None:
        self.texts.update(f"{what} {words}" for value in values if (words := _words(value)) is not None)


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _words(value: Any) -> str | None:
    """A constant as text; None for what is none."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, tuple | frozenset | dict):
        parts = [part for pair in value.items() for part in pair] if isinstance(value, dict) else list(value)
        inner = [words for part in parts if (words := _words(part)) is not None]
        return None if len(inner) < len(parts) else str(sorted(inner) if isinstance(value, frozenset) else inner)
    return None  # also for a list, to which code may append


def _used(code: types.CodeType) -> Iterator[str]:
    """The names in a function and in the functions inside it."""
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _used(one)


def _source(function: types.FunctionType) -> str:
    """What a function says, without comments; its bytecode where nobody has the source."""
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(function))))
    except (OSError, TypeError, SyntaxError, ValueError, tokenize.TokenError):  # a file that is no Python
        return _bytecode(function.__code__)


def _bytecode(code: types.CodeType) -> str:
    inner = [_bytecode(one) if isinstance(one, types.CodeType) else _words(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {inner}"


def _is_own(thing: Any) -> bool:
    """Whether code belongs to the user, and not to textkd or a library."""
    name = thing.__name__ if isinstance(thing, types.ModuleType) else str(getattr(thing, "__module__", None) or "")
    package = name.partition(".")[0]
    if package in ("textkd", "builtins", "") or package in sys.stdlib_module_names - {"__main__"}:
        return False
    file = Path(str(getattr(sys.modules.get(name), "__file__", None) or ""))
    return not {"site-packages", "dist-packages"} & set(file.parts)
