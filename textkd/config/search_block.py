"""The block `search` of a recipe: which keys may have which values, under which budget."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from textkd.config import recipe_file
from textkd.config.schema import SearchBlock
from textkd.errors import Collector, Problem, TextkdError, problem
from textkd.experiment.candidates import Budget, Choice, Space
from textkd.experiment.distiller import Run
from textkd.experiment.search import Search
from textkd.experiment.storage import folder_of

MOST_TRIALS, MOST_VALUES = 200, 50
BUDGETS = ("latency_ms", "size_mb", "threads")
# what a search decides itself, or what would make candidates that cannot be compared
FIXED = (
    "search",
    "seeds",
    "task",
    "teacher",
    "teachers",
    "control",
    "about",
    "preset",  # it stands for matches, which a search has already in its place
    "training.output_dir",
    "training.max_steps",
)


def search_of(
    block: SearchBlock, values: Mapping[str, Any], build: Callable[[dict[str, Any]], Run], name: str
) -> Search:
    """The search that a recipe asks for.

    Args:
        block: of the recipe.
        values: the whole recipe as it was written.
        build: makes a run of a recipe's values.
        name: of the run.

    Raises:
        TextkdError: with every problem of the block, and of the first candidate.
    """
    found = Collector()
    found.add(*_problems(block, values))
    found.raise_any()
    training = values.get("training") or {}
    path = folder_of(training.get("output_dir"), f"runs/{name}")
    space = Space({key: tuple(one) for key, one in block.over.items()})
    threads = None if "threads" not in block.budget else int(block.budget["threads"])
    budget = Budget(block.budget.get("latency_ms"), block.budget.get("size_mb"), threads)

    def make(choice: Choice, training: Mapping[str, Any], place: Path, alone: bool) -> Run:
        made = _values(values, choice)
        made["training"] = {**made.get("training", {}), **training, "output_dir": str(place)}
        if alone:
            made |= {"control": False, "seeds": made.get("seeds", [made["training"].get("seed", 42)])[:1]}
        return build(made)

    return Search(space, budget, block.trials, block.steps, make, path)


def _values(values: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
    """The recipe of a candidate."""
    made = copy.deepcopy({key: value for key, value in values.items() if key != "search"})
    for key, value in choice.items():
        recipe_file.put(made, key, copy.deepcopy(value), f"search.over.{key}")
    return made


def _problems(block: SearchBlock, values: Mapping[str, Any]) -> list[Problem]:
    found = [p for name, value in block.budget.items() for p in _budget_problems(name, value)]
    if not set(block.budget) & {"latency_ms", "size_mb"}:
        what, fix = "neither milliseconds nor megabytes are given", "budget: {latency_ms: 5}, or {size_mb: 10}"
        found.append(problem("search.budget", what, fix=fix, where="search.budget"))
    if not block.over:
        fix = "over: {student.shrink.n_layers: [2, 3]}"
        found.append(problem("search.over", "nothing to choose from", fix=fix, where="search.over"))
    found += [p for key, choices in block.over.items() for p in _key_problems(key, choices, values)]
    if not 1 <= block.trials <= MOST_TRIALS:
        what = f"1 to {MOST_TRIALS} can be tried"
        found.append(problem(f"trials: {block.trials}", what, fix="trials: 12", where="search.trials"))
    if block.steps < 1:
        what = "nothing would be trained"
        found.append(problem(f"steps: {block.steps}", what, fix="steps: 200", where="search.steps"))
    return found


def _budget_problems(name: str, value: float) -> list[Problem]:
    where = f"search.budget.{name}"
    if name not in BUDGETS:
        fix = f"one of {', '.join(BUDGETS)}"
        return [problem(f"a budget of {name}", "no such budget", near=(name, BUDGETS), fix=fix, where=where)]
    cores = os.cpu_count() or 1
    if name == "threads" and (type(value) is not int or not 1 <= value <= cores):
        what = f"not a number of threads; this machine, on which they are measured, has {cores} cores"
        return [problem(f"threads: {value}", what, fix="threads: 1", where=where)]
    if not (math.isfinite(value) and value > 0):
        fix = f"a number above 0, as {name}: 5"
        return [problem(f"{name}: {value}", "nothing meets it", fix=fix, where=where)]
    return []


def _key_problems(key: str, choices: Sequence[Any], values: Mapping[str, Any]) -> list[Problem]:
    where = f"search.over.{key}"
    if not choices or len(choices) > MOST_VALUES:
        fix = f"1 to {MOST_VALUES} of them"
        return [problem(f"over {key}", f"{len(choices)} values", fix=fix, where=where)]
    if any(choices.count(one) > 1 for one in choices):
        return [problem(f"over {key}", "a value stands there twice", fix="keep one of them", where=where)]
    if any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED):
        what = "it is the same for all candidates, or is decided by the search itself"
        return [problem(f"over {key}", what, fix="a key of student, training, matches or artifacts", where=where)]
    if key.startswith("artifacts.") and not values.get("artifacts"):
        fix = "artifacts: [{format: onnx}] beside search"
        return [problem(f"over {key}", "the recipe has no artifacts", fix=fix, where=where)]
    try:
        recipe_file.put(_values(values, {}), key, None, f"search.over.{key}")
    except TextkdError as error:
        return [problem(one.asked, one.found, fix=one.fix, where=where) for one in error.problems]
    return []
