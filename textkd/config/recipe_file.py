"""The text of a recipe: YAML to plain values, dotted overrides on them. Knows no key."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from textkd.config import shipped
from textkd.errors import Collector, fail
from textkd.models.files import at_home

First = Callable[[dict[str, Any], Sequence[str]], Sequence[str]]
# YAML 1.2's plain scalars. PyYAML reads 1.1, where 1e-4 is a text and the label `no` is false.
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's numbers and booleans, which refuses a key that stands twice in a block."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        first: dict[Any, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in first and key.tag != "tag:yaml.org,2002:merge":
                found = f"twice, in line {first[key.value]} and in line {line}"
                raise fail(f"key {key.value}", found, fix="keep one of the two")
            first[key.value] = line
        return super().construct_mapping(node, deep)


_NUMBER_OR_BOOL = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBER_OR_BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# after PyYAML's own resolver of whole numbers, which the pattern of a float matches too
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(f"^(?:{_BOOL.pattern})$"), list("tTfF"))


def load(file: str | Path, overrides: Sequence[str] = (), first: First | None = None) -> dict[str, Any]:
    """The values of a YAML file under ``a.b=c`` overrides. first: changes the values and returns the overrides that it
    leaves. Raises `TextkdError`: no such file, not UTF-8, not YAML, not keys and values, a key twice, and every
    override that cannot be."""
    path, asked = shipped.found(at_home(file)), f"recipe {file}"
    if not path.is_file():
        raise _missing(path)
    found = Collector()
    values: Any = {}
    with found.collecting():
        try:
            values = parse(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise fail(asked, f"not UTF-8 (byte {error.start})", fix="save it as UTF-8") from error
        except OSError as error:
            raise fail(asked, f"cannot be read: {error.strerror}", fix="check its permissions") from error
        except (yaml.YAMLError, ValueError) as error:
            raise fail(asked, f"not YAML: {' '.join(str(error).split())}", fix="correct that line") from error
        if not isinstance(values, dict):
            what = "the file is empty" if values is None else f"a {type(values).__name__}, not keys and values"
            raise fail(asked, what, fix="task: ..., teacher: ..., student: ..., matches: ...")
    if not isinstance(values, dict):
        values = {}
    if first is not None:
        found.raise_any()
        overrides = first(values, overrides)
    for text in overrides:
        with found.collecting():
            override(values, text)
    found.raise_any()
    return values


def parse(text: str) -> Any:
    """The value that a YAML text writes; ``1e-4`` is a number, ``no`` a text. Raises `yaml.YAMLError`."""
    return yaml.load(text, Loader=_Loader)


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
    try:
        return path, parse(right)
    except (yaml.YAMLError, ValueError) as error:
        raise fail(
            f"override {text!r}",
            "what follows `=` is not YAML",
            fix="close every bracket and quote; put a text in quotes",
        ) from error


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
    return int(name) if is_map and re.fullmatch(r"-?\d+", name) else name


def _index(items: list[Any], name: str, asked: str) -> int:
    if not re.fullmatch(r"-?\d+", name) or not -len(items) <= int(name) < len(items):
        fix = f"0 to {len(items) - 1}" if items else "the list is empty"
        raise fail(asked, f"{name} is not an index of a list of {len(items)}", fix=fix)
    return int(name)


def _missing(path: Path) -> Exception:
    folder = path.parent
    near = [*(str(p) for p in folder.glob("*.y*ml") if folder.is_dir()), *shipped.recipes()]
    found = "a folder" if path.is_dir() else "no such file" if folder.is_dir() else f"no such folder {folder}"
    return fail(f"recipe {path}", found, near=(str(path), near), fix="textkd ls recipes")
