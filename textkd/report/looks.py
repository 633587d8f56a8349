"""How each model looks in tables and plots: the same colour and dashes wherever its name stands."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from textkd.report.results import Results

# The three that are compared keep their looks; "-" and "--" are theirs alone. White behind, 4.5 to 1 at least.
TEACHER, STUDENT, CONTROL = "#475569", "#2563eb", "#c2570c"
_COLOURS = ("#15803d", "#7e22ce", "#be185d", "#0e7490", "#854d0e", "#4338ca", "#b91c1c", "#4d7c0f")
_DASHES: tuple[Any, ...] = ((0, (6, 1.5, 1.5, 1.5)), (0, (3, 1.5)), (0, (8, 2, 2, 2, 2, 2)))
LEVEL = ":"


@dataclass(frozen=True)
class Look:
    """colour: #rrggbb. dashes: matplotlib's line style. style: the name of its CSS class."""

    colour: str
    dashes: Any
    style: str


def looks(results: Results) -> dict[str, Look]:
    """One look a model, by its name, in the order of the models. No two of 24 models look alike."""
    free = ((colour, dashes) for dashes, colour in product(_DASHES, _COLOURS))
    compare = results.compare
    known = {compare.control: (CONTROL, "--"), compare.teacher: (TEACHER, "-"), compare.student: (STUDENT, "-")}
    found = {}
    for index, name in enumerate(results.models):
        colour, dashes = known[name] if name in known else next(free)
        found[name] = Look(colour, dashes, f"m{index}")
    return found
