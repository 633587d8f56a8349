"""The text of a recipe: YAML to plain values, dotted overrides on them. Knows no key."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from textkd.config import shipped
from textkd.errors import Collector, Problem, TextkdError, fail, is_secret_block, problem, reading
from textkd.models.files import at_home

First = Callable[[dict[str, Any], Sequence[str], Collector | None], Sequence[str]]
# YAML 1.2's plain scalars. PyYAML reads 1.1, where 1e-4 is a text and the label `no` is false.
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")


# A recipe is read by people: what is larger is no recipe, or an attack (nine aliases of nine aliases of ...)
LARGEST_FILE, MOST_VALUES, DEEPEST, LARGEST_NUMBER = 1 << 18, 100_000, 50, 2**63 - 1


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's numbers and booleans (dates are texts), which refuses a key that stands twice in a
    block, and keys that are no texts or whole numbers."""

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return self.construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        first: dict[Any, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                what = f"a {'list' if isinstance(key, yaml.SequenceNode) else 'block'} for a key in line {line}"
                raise fail("a key that is a text or a whole number", what, fix="put a text with brackets in quotes")
            if key.value in first and key.tag != "tag:yaml.org,2002:merge":
                found = f"twice, in line {first[key.value]} and in line {line}"
                raise fail(f"key {key.value}", found, fix="keep one of the two")
            first[key.value] = line
        return super().construct_mapping(node, deep)


_NUMBER_OR_BOOL = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBER_OR_BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# after PyYAML's own resolver of whole numbers, which the pattern of a float matches too
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(f"^(?:{_BOOL.pattern})$"), list("tTfF"))


def _count(node: yaml.Node, known: dict[int, int], above: tuple[int, ...] = ()) -> int:
    """How many values a node stands for, each alias counted as often as it is written. Raises `TextkdError`."""
    if id(node) in above:
        what = f"the alias in line {node.start_mark.line + 1} stands inside of what it names"
        raise fail("values that end", what, fix="write out what it stands for")
    if len(above) >= DEEPEST:
        what = f"line {node.start_mark.line + 1} is nested more than {DEEPEST} deep"
        raise fail("blocks and lists that can be read", what, fix="write it flatter")
    if id(node) not in known:
        inner = [node.value] if isinstance(node, yaml.ScalarNode) else node.value
        parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
        total = 1 + sum(_count(part, known, (*above, id(node))) for part in parts if isinstance(part, yaml.Node))
        if total > MOST_VALUES:
            what = f"line {node.start_mark.line + 1} stands for {total:,} values or more with its aliases"
            raise fail(f"at most {MOST_VALUES:,} values", what, fix="write out what is meant, without aliases")
        known[id(node)] = total
    return known[id(node)]


def _judge(value: Any, place: str = "") -> Iterator[Problem]:
    """What no place of a recipe can hold, wherever it stands."""
    at = f" at {place}" if place else ""
    if isinstance(value, dict):
        for key, inner in value.items():
            if type(key) not in (str, int):
                fix = "put it in quotes"
                yield problem(f"a key{at} that is a text or a whole number", f"{key!r}", fix=fix)
            yield from _judge(key, place)
            yield from _judge(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _judge(inner, f"{place}[{number}]")
    elif isinstance(value, str):
        if "\0" in value or (not value.isascii() and value != value.encode("utf-8", "replace").decode("utf-8")):
            what = "a NUL character" if "\0" in value else "half of a character (a lone surrogate, as \\ud800)"
            yield problem(f"a text{at}", f"{what} in {value!r}", fix="write whole characters")
    elif type(value) is int and abs(value) > LARGEST_NUMBER:
        what = f"one of {value.bit_length() * 0.30103:,.0f} digits"
        yield problem(f"a number{at}", what, fix=f"at most {LARGEST_NUMBER}")
    elif value is not None and type(value) not in (int, float, bool):
        yield problem(f"a text, a number, a list or a block{at}", f"a {type(value).__name__}", fix="put it in quotes")


def load(
    file: str | Path, overrides: Sequence[str] = (), first: First | None = None, changes: Collector | None = None
) -> dict[str, Any]:
    """The values of a YAML file under ``a.b=c`` overrides. first: changes the values and returns the overrides that it
    leaves. changes: takes what is wrong with these and with what `first` does, so that the rest can be looked at.
    Raises `TextkdError`: no such file, not UTF-8, not YAML, not keys and values, a key twice; without `changes`, every
    override that cannot be."""
    asked = f"recipe {file}"
    with reading(asked, fix="textkd ls recipes"):
        path = shipped.found(at_home(file))
        if not path.is_file():
            raise _missing(path)
        if path.stat().st_size > LARGEST_FILE:
            raise fail(asked, f"{path.stat().st_size:,} bytes", fix=f"a recipe has at most {LARGEST_FILE:,}")
    found = Collector()
    values: Any = {}
    with found.collecting():
        with reading(asked, fix="check its permissions"):
            data = path.read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise fail(asked, f"not UTF-8 (byte {error.start})", fix="save it as UTF-8") from error
        values = parse(text, asked)
        if not isinstance(values, dict):
            what = "the file is empty" if values is None else f"a {type(values).__name__}, not keys and values"
            raise fail(asked, what, fix="task: ..., teacher: ..., student: ..., matches: ...")
    if not isinstance(values, dict):
        values = {}
    if first is not None or changes is not None:
        found.raise_any()
    asks = found if changes is None else changes
    if first is not None:
        overrides = first(values, overrides, changes)
    for text in overrides:
        with asks.collecting():
            override(values, text)
    found.raise_any()
    return values


def parse(text: str, asked: str = "YAML", fix: str = "correct that line") -> Any:
    """The value that a YAML text writes; ``1e-4`` is a number, ``no`` and ``2026-01-01`` are texts.

    Args:
        text: YAML.
        asked: what an error is about.
        fix: what to do about one.

    Raises:
        TextkdError: it is no YAML, is larger than any recipe is, or holds what no recipe can.
    """
    with reading(asked, fix=fix):
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            told = str(error)
            if mark is not None and any(is_secret_block(word) for word in re.findall(r"[\w-]+", text)):
                told = f"{getattr(error, 'problem', '')} in line {mark.line + 1}, column {mark.column + 1}"
            raise fail(asked, f"not YAML: {' '.join(told.split())}", fix=fix) from error
    if wrong := list(_judge(value)):
        raise TextkdError(*(replace(one, asked=f"{asked}: {one.asked}") for one in wrong))
    return value


def dump(values: Mapping[str, Any]) -> str:
    """Values as YAML, in their order."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def override(values: dict[str, Any], text: str) -> None:
    """Sets what ``a.b=c`` says: keys by name, members of a list by number from 0. Raises `TextkdError`."""
    path, value = split(text)
    put(values, path, value, f"override {text!r}")


def split(text: str) -> tuple[str, Any]:
    """(path, value) of an override ``a.b=c``. Raises `TextkdError`."""
    path, equals, right = text.partition("=")
    if not equals or not path:
        raise fail(f"override {text!r}", "no `=`" if path else "no key", fix="a.b=value, as training.seed=1")
    asked, fix = f"override {text!r}", "close every bracket and quote; put a text in quotes"
    try:
        return path, parse(right, asked, fix)
    except TextkdError as error:
        if not isinstance(error.__cause__, yaml.YAMLError):
            raise
        raise fail(asked, "what follows `=` is not YAML", fix=fix) from error  # YAML's own words repeat it, secrets too


def put(values: dict[str, Any], path: str, value: Any, asked: str) -> None:
    """Sets what lies at a dotted path. asked: what an error is about. Raises `TextkdError`."""
    *parents, last = path.split(".")
    at: Any = values
    for i, name in enumerate(parents):
        at = _inside(at, name, asked)
        if not isinstance(at, dict | list):
            above = ".".join(parents[: i + 1])
            raise fail(asked, f"{above} is {at!r} and has no keys", fix=f"{above}=VALUE")
    at[_index(at, last, asked) if isinstance(at, list) else _key(at, last)] = value


def _inside(at: Any, name: str, asked: str) -> Any:
    if isinstance(at, list):
        return at[_index(at, name, asked)]
    key = _key(at, name)
    if at.get(key) is None:
        at[key] = {}
    return at[key]


def _key(at: Mapping[Any, Any], name: str) -> Any:
    """`name` as a key of this block: of a layer map, whose keys are numbers, a number."""
    is_map = bool(at) and all(type(key) is int for key in at)
    return int(name) if is_map and re.fullmatch(r"-?[0-9]{1,9}", name) else name


def _index(items: list[Any], name: str, asked: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", name) or not -len(items) <= int(name) < len(items):
        fix = f"0 to {len(items) - 1}" if items else "the list is empty"
        raise fail(asked, f"{name} is not an index of a list of {len(items)}", fix=fix)
    return int(name)


def _missing(path: Path) -> Exception:
    folder = path.parent
    near = [*(str(p) for p in folder.glob("*.y*ml") if folder.is_dir()), *shipped.recipes()]
    found = "a folder" if path.is_dir() else "no such file" if folder.is_dir() else f"no such folder {folder}"
    return fail(f"recipe {path}", found, near=(str(path), near), fix="textkd ls recipes")
