"""Names of models: what a recipe may call them, so that matches, the report and folders can tell them apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from textkd.errors import Problem, problem


def name_problems(what: str, named: Iterable[tuple[str, str]], taken: Mapping[str, str]) -> list[Problem]:
    """What is wrong with names of models.

    Args:
        what: they are, as "a link".
        named: each name with its place in the recipe.
        taken: names that others have, and why they cannot be had.
    """
    found, before = list[Problem](), set[str]()
    for name, place in named:
        why = taken.get(name, f"another {what.split()[-1]} has this name" if name in before else "")
        fix = "another name"
        if not re.fullmatch(r"[\w-]+", name):
            why, fix = "no name of a model", "letters, digits, - and _, as big or peer_2"
        if why:
            found.append(problem(f"{what} named {name}", why, fix=fix, where=place))
        before.add(name)
    return found
