"""Checks of the numbers that a recipe may give."""

from __future__ import annotations

from typing import Any

from textkd.errors import Collector, problem

# what takes more memory or time than any machine has
MOST = {"n": 100_000_000, "repeat": 10_000, "seed": 2**32 - 1, "height": 4096, "width": 32_768, "words": 10_000,
        "num_beams": 1000, "max_new_tokens": 100_000, "no_repeat_ngram_size": 100_000}  # fmt: skip
# what to give instead, say
SAY = {"n": 1000, "repeat": 2, "seed": 0, "height": 32, "words": 3, "limit": 1000}


def check_whole(collector: Collector, **values: tuple[Any, int]) -> None:
    """A problem for every name=(value, least) whose value is no whole number from least to the most of that name."""
    for name, (value, least) in values.items():
        most = MOST.get(name, 2**63 - 1)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            upto = f" to {most}" if name in MOST else ""
            fix = f"{name}: {SAY.get(name, max(least, 1))}, say"
            collector.add(problem(f"{name}: a whole number from {least}{upto}", repr(value), fix=fix, where=name))


def check_range(collector: Collector, name: str, value: Any) -> None:
    """A problem unless value is [least, most], two whole numbers from 1."""
    good = isinstance(value, list | tuple) and len(value) == 2
    good = (
        good
        and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
        and 1 <= value[0] <= value[1] <= MOST["words"]
    )
    if not good:
        asked, fix = f"{name}: [least, most], whole numbers from 1", f"{name}: [1, 8], say"
        collector.add(problem(asked, repr(value), fix=fix, where=name))


def check_strength(collector: Collector, value: Any) -> None:
    """A problem unless value is a number from 0 to 3."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3:
        asked, fix = "strength: a number from 0 (off) to 3", "strength: 1.0, say"
        collector.add(problem(asked, repr(value), fix=fix, where="strength"))
