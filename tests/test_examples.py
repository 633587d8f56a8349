"""The examples in docstrings and on the pages of docs/ give what they show."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

import textkd

SOURCES = [file for file in sorted((ROOT / "textkd").rglob("*.py")) if re.search(r"^\s*>>> ", file.read_text(), re.M)]
PAGES = [file for file in sorted(ROOT.glob("docs/**/*.md")) if ">>> " in file.read_text()]
LONG = ("textkd/teachers/int8.py",)  # writes a graph
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# names of textkd.__all__ without an example that runs here, and why
WITHOUT = {
    "Distiller": "a whole run; README's is tried by test_readme",
    "Result": "what a whole run gives",
    "from_recipe": "a whole run",
    "Recogniser": "needs a program that reads images",
    "losses": "a package",
    "tasks": "a package",
}


def _case(file: Path) -> Any:
    name = str(file.relative_to(ROOT))
    return pytest.param(file, id=name, marks=[pytest.mark.long] if name in LONG else [])


@pytest.mark.parametrize("file", map(_case, SOURCES))
def test_of_a_module(file: Path) -> None:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    failed, tried = doctest.testmod(import_module(name), optionflags=OPTIONS)
    assert tried, f"{name} has examples where doctest does not see them"
    assert not failed, "what failed is told above"


def test_of_the_pages() -> None:
    assert PAGES
    for file in PAGES:
        failed, _ = doctest.testfile(str(file), module_relative=False, optionflags=OPTIONS)
        assert not failed, f"what failed in {file.name} is told above"


def test_files_that_the_pages_name_are_there() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    named = {(page.name, file) for page in pages for file in re.findall(r"tests/[\w/]+\.py", page.read_text())}
    assert named
    assert [(page, file) for page, file in sorted(named) if not (ROOT / file).is_file()] == []


def test_every_public_name_has_one() -> None:
    without = {name for name in textkd.__all__ if ">>> " not in (getattr(textkd, name).__doc__ or "")}
    assert without == set(WITHOUT)
