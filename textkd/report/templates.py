"""The templates of the report: strict, and with white space as it stands in the files."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@cache  # it keeps the templates that it has compiled
def environment(*, autoescape: bool, finalize: Callable[[Any], Any] | None = None) -> Environment:
    """Where `page.html.j2` and `card.md.j2` lie. autoescape: on for HTML, whose texts come from the data. finalize:
    what becomes of every value that is put in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # no check of a recipe needs it

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=autoescape, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=finalize,
    )  # fmt: skip
