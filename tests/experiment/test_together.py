"""Faults of different parts of a recipe are told together: each as it is told alone, none twice, none that follows."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
from spoil import put
from test_bad_input import RECIPES
from test_fixes import problems_of
from tiny_lab import Tiny

from textkd.config.build import read
from textkd.errors import TextkdError

pytestmark = pytest.mark.long  # each tries many recipes or trains readers

ROWS = {name: change for name, change, _ in RECIPES}
# they are seen on models, or beside a task: where these are bad, too, nobody can know
SEEN_LATER = {
    "control frozen", "frozen", "all frozen", "finetune frozen", "finetune frozen nothing", "address", "twice",
    "student block", "teacher block", "module", "size of vocabulary", "student's vocabulary", "another run",
    "length 41",
    "teacher's label count", "teacher's label order", "no tokenizer", "a cached teacher that pads on the left",
    "shrink",
}  # fmt: skip


def touched(name: str, tiny: Tiny) -> set[str]:
    """The blocks of the recipe that a row of the table changes."""
    recipe = tiny.recipe
    before = copy.deepcopy(recipe)
    ROWS[name](recipe, tiny)
    return {key for key in {*before, *recipe} if before.get(key) != recipe.get(key)}


def keys(tiny: Tiny, *names: str) -> tuple[bool, list[tuple[str, str]]]:
    """Whether the first round tells all, and (place, what is found) of each problem."""
    recipe = tiny.recipe
    for name in names:
        ROWS[name](recipe, tiny)
    found = [(p.where, p.found.replace(str(tiny.folder), "DIR")) for p in problems_of(recipe, tiny)]
    try:
        read(tiny.write(recipe))
    except TextkdError:
        return True, found
    return False, found


def fresh(tiny: Tiny, name: str) -> Tiny:
    """Another folder of one test's own."""
    folder = tiny.folder / name
    folder.mkdir()
    for part in ("teacher", "data"):
        (folder / part).symlink_to((tiny.folder / part).resolve())
    return Tiny(Path(folder))


@pytest.mark.long
def test_pairs_at_random(tiny: Tiny) -> None:
    choice, alone, tried = random.Random(7), dict[str, Any](), 0
    names = sorted(set(ROWS) - SEEN_LATER - {"both", "neither", "missing key", "fp16"})
    changes = {name: touched(name, fresh(tiny, f"of {names.index(name)}")) for name in names}
    while tried < 15:
        pair = choice.sample(names, 2)
        if changes[pair[0]] & changes[pair[1]]:
            continue
        tried += 1
        for name in pair:
            if name not in alone:
                alone[name] = keys(fresh(tiny, f"alone {names.index(name)}"), name)
        firsts = [name for name in pair if alone[name][0]]
        due = [key for name in firsts or pair for key in alone[name][1]]
        assert sorted(keys(fresh(tiny, f"pair {tried}"), *pair)[1]) == sorted(due), pair


TOGETHER = [
    put("task", {"name": "text", "train": "DIR", "eval": {"fraction": 2}, "limit": 0}),
    put("training", {"optim": "nope", "learning_rat": 1, "hub_strategy": "x", "output_dir": "runs/none"}),
    put("student.shrink.layers", [2, 99]), put("matches.1.loss", "kll"), put("control", {"frozen": "bert"}),
]  # fmt: skip


def test_data_arguments_students_and_matches(tiny: Tiny) -> None:
    recipe = tiny.recipe
    for change in TOGETHER:
        change(recipe, tiny)
    recipe["task"]["train"] = "nope.csv"
    found = [problem.where for problem in problems_of(recipe, tiny)]
    assert sorted(found) == [
        "control.frozen", "matches[1].loss", "student.shrink.layers", "task", "task.eval", "task.limit",
        "training.hub_strategy", "training.learning_rat", "training.optim",
    ]  # fmt: skip


def test_beside_a_teacher_that_is_not_there(tiny: Tiny) -> None:
    recipe = tiny.recipe
    recipe["teachers"] = {"big": recipe.pop("teacher"), "other": {"path": str(tiny.folder / "x")}}
    recipe["matches"][1]["from"] = "bigg"
    recipe["student"] = {"shrink": {"layers": [99]}, "from": "big"}
    found = [problem.where for problem in problems_of(recipe, tiny)]
    assert sorted(found) == ["matches[1].from", "matches[2].from", "student.shrink.layers", "teachers.other"]
