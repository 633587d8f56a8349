"""Recipes of which one place or several were changed at random: good or refused, never a traceback, never a hang."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from command_line import textkd
from ocr_lab import Reading
from tiny_lab import Tiny

from textkd.config import shipped

STRANGE = [
    None, True, False, 0, -1, 1, 10**18, 1e300, float("nan"), float("inf"), "", "x", "~", "a" * 5000,
    "\u00e9\U0001f600", [], [[]], [None], {}, {"a": 1}, {1: 2}, [1, 2, 3], "hidden", {"kind": "linear"},
]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _places(one, (*path, key))


def _mutate(recipe: Any, rng: random.Random) -> str:
    """Changes one place: its value, its key, or it goes or stands beside itself. Returns what was done."""
    *parents, last = rng.choice(list(_places(recipe)))
    at = recipe
    for part in parents:
        at = at[part]
    way = rng.choice(["value", "value", "value", "key", "drop"])
    if way == "value":
        at[last] = copy.deepcopy(rng.choice(STRANGE))
    elif way == "drop":
        del at[last]
    elif isinstance(at, dict):
        at[rng.choice([f"{last}s", str(last)[:-1] or "x", "", 7, "path", "config"])] = at.pop(last)
    else:
        at.insert(0, at[last])
    return f"{way} {parents} {last}"


def _check_mutant(seed: int, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    kind = rng.choice(["tiny", "tiny", "ocr", "shipped"])
    if kind == "shipped":
        file = rng.choice(sorted(shipped.recipes().values()))
        recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
    else:
        recipe = copy.deepcopy(tiny.recipe if kind == "tiny" else Reading(tiny.folder).recipe)
    done = [_mutate(recipe, rng) for _ in range(rng.choice([1, 1, 2, 3])) if recipe]
    recipe["training"] = recipe.get("training") or {}
    if isinstance(recipe["training"], dict):
        recipe["training"].setdefault("output_dir", str(tiny.folder / "run"))
    began = time.process_time()  # where others work on the machine too, a clock on the wall tells of them
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(recipe)))  # another exception would end the test
    assert code in (0, 2), (done, said)
    assert len(said) < 40_000, done
    assert time.process_time() - began < 30, done


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.long), 1])
def test_a_mutated_recipe(
    seed: int, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _check_mutant(seed, tiny, capsys, monkeypatch)


@pytest.mark.parametrize("seed", [
    *(pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 18)),
    *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(18, 306)),
])  # fmt: skip
def test_mutated_recipes(
    seed: int, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _check_mutant(seed, tiny, capsys, monkeypatch)
