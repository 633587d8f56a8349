"""From a recipe to an experiment that can run, in two rounds. The first judges keys and types and imports nothing
heavy, so that a typo is told at once; the second, `builder`, judges all else: data, models, matches, arguments."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textkd.config import presets, recipe_file
from textkd.config.schema import Recipe
from textkd.config.validate import validate
from textkd.errors import Collector, TextkdError

if TYPE_CHECKING:
    from textkd.experiment.distiller import Run
    from textkd.experiment.search import Search

log = logging.getLogger("textkd")


def read(file: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """The first round: (recipe, plain values) of a YAML file.

    Args:
        file: a recipe.
        overrides: changes of it, ``a.b=c``.

    Raises:
        TextkdError: with every bad key, every value of a wrong type, every override and preset that cannot be.
    """
    changes = Collector()
    values = recipe_file.load(file, overrides, presets.expand, changes)
    recipe, problems = validate(values)
    changes.add(*problems)
    changes.raise_any()
    assert recipe is not None
    return recipe, values


def from_recipe(file: str | Path, overrides: Sequence[str] = ()) -> Run | Search:
    """What a recipe asks for, ready to `check` and `run`.

    Args:
        file: a recipe, a YAML file, or the name of one that textkd ships; the file's name, without suffix, names the
            run.
        overrides: changes of it as on the command line: ``"training.seed=1"``.

    Returns:
        The run; nothing is trained or written yet.

    Raises:
        TextkdError: every bad key and every value of a wrong type, at once. Where there is none: what is wrong with the
            task, the students and the teachers as they are written, and all that `Run.check` finds in the data and the
            models.
    """
    recipe, values = read(file, overrides)
    if recipe.about:
        log.info(recipe.about)
    with _no_collection():
        from textkd.config.builder import Builder  # torch and all the rest
        from textkd.config.search_block import search_of

    name = Path(file).stem
    if recipe.search is None:
        return Builder(recipe, values, name).build()
    return search_of(recipe.search, values, lambda made: Builder(_judged(made), made, name).build(), name)


def _judged(values: dict[str, Any]) -> Recipe:
    """The recipe of plain values. Raises `TextkdError`."""
    recipe, problems = validate(values)
    if recipe is None or problems:
        raise TextkdError(*problems)
    return recipe


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector: imports make much and throw nothing away, and it would look through all of it
    again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
