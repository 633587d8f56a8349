"""Named recipes of the field: `presets.yaml` says what each compares with what. A preset is data; a recipe that names
one has its matches or stages as if they were written out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from textkd.config import recipe_file
from textkd.config.validate import validate
from textkd.errors import Collector, TextkdError, fail

FILE = Path(__file__).with_name("presets.yaml")
PARTS = ("matches", "stages")
_STAND_IN = [{"tap": "labels"}, {"tap": "logits"}]
EXAMPLE = "{name: hinton, matches.1.weight: 0.5}"


def preset(name: str, *overrides: str) -> dict[str, Any]:
    """The matches or the stages of a named recipe, for `Distiller(teacher, student, task, **preset("pkd"))`.

    Args:
        name: of the preset; `textkd ls presets` lists them, with their sources.
        overrides: dotted changes, as on the command line: ``"matches.1.temperature=8"``.

    Returns:
        {"matches": [...]} or {"stages": [...]}.

    Raises:
        TextkdError: an unknown name, or overrides that cannot be.

    Example:
        >>> for match in preset("hinton", "matches.1.temperature=8")["matches"]:
        ...     print(match.tap, match.loss, match.temperature)
        labels None None
        logits None 8
    """
    values: dict[str, Any] = {"preset": {"name": name}}
    expand(values, [f"preset.{text}" for text in overrides])
    _, problems = validate({"task": {}, "teacher": {"path": "-"}, "student": {"shrink": {}}, **values})
    if problems:
        raise TextkdError(*problems)
    from textkd.objective.match import Match  # heavy: torch
    from textkd.training.stages import Stage

    if "matches" in values:
        return {"matches": [Match(**match) for match in values["matches"]]}
    stages = [{**stage, "matches": [Match(**match) for match in stage["matches"]]} for stage in values["stages"]]
    return {"stages": [Stage(**stage) for stage in stages]}


def expand(values: dict[str, Any], overrides: Sequence[str] = (), found: Collector | None = None) -> list[str]:
    """Puts the matches or stages of the preset that a recipe names in the preset's place, under the recipe's and the
    command line's changes of it; the overrides that concern other keys are returned. found: takes what is wrong (an
    unknown name, changes of what the preset does not have, matches or stages beside it), and matches that are right
    stand in the preset's place, so that the rest can still be looked at; without it a `TextkdError` is raised."""
    mine = [text for text in overrides if _first(text) == "preset"]
    others, wrong = [text for text in overrides if text not in mine], Collector()
    with wrong.collecting():
        _replace(values, mine)
    if found is None:
        wrong.raise_any()
    elif wrong.problems:
        found.add(*wrong.problems)
        values.pop("preset", None)
        if all(values.get(part) is None for part in PARTS):
            values["matches"] = copy.deepcopy(_STAND_IN)
            others = [text for text in others if _first(text) not in PARTS]  # of the preset that is meant
    return others


def _first(override: str) -> str:
    return override.partition("=")[0].partition(".")[0]


def _replace(values: dict[str, Any], overrides: Sequence[str]) -> None:
    block = _block(values, overrides)
    if block is None:
        return
    _refuse_others(values)
    name = block.pop("name", None)
    found, parts = Collector(), _parts(name)
    for path, value in block.items():
        with found.collecting("preset"):
            _change(parts, name, str(path), value)
    found.raise_any()
    del values["preset"]
    values.update(parts)


def rows() -> list[dict[str, str]]:
    """One row per preset: its name, what it does, where it is from."""
    return [{"preset": name, "about": one["about"], "source": one["source"]} for name, one in _all().items()]


def as_yaml(name: str) -> str:
    """A preset as it would stand in a recipe. Raises TextkdError with the nearest names."""
    about = _all().get(name, {}).get("about", "")
    return f"# {name}: {about}\n{recipe_file.dump(_parts(name))}"


def _block(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any] | None:
    """The block `preset` as {name, dotted changes}; None where there is none."""
    for text in overrides:
        path, value = recipe_file.split(text)
        given = values.get("preset")
        if path != "preset" and not isinstance(given, dict):
            values["preset"] = {} if given is None else {"name": given}
        # what follows `preset.` is one key: a path inside the preset
        at, key = (values["preset"], path.partition(".")[2]) if path != "preset" else (values, "preset")
        at[key] = value
    block = values.get("preset")
    if block is None:
        values.pop("preset", None)
        return None
    return dict(block) if isinstance(block, Mapping) else {"name": block}


def _refuse_others(values: Mapping[str, Any]) -> None:
    others = [part for part in PARTS if values.get(part) is not None]
    if others:
        fix = f"keep one: change parts of a preset as preset: {EXAMPLE}, or copy it from `textkd ls presets NAME`"
        raise fail(f"{others[0]} beside preset", "both are given", fix=fix, where=others[0])


def _parts(name: Any) -> dict[str, Any]:
    if not isinstance(name, str) or name not in _all():
        near = (name, _all()) if isinstance(name, str) else None
        found = "it has no name" if name is None else "no such preset"
        fix = f"a name of `textkd ls presets`, or {EXAMPLE}"
        raise fail(f"preset {name}" if name is not None else "a preset", found, near=near, where="preset", fix=fix)
    return copy.deepcopy({part: value for part, value in _all()[name].items() if part in PARTS})


def _change(parts: dict[str, Any], name: str, path: str, value: Any) -> None:
    first = path.partition(".")[0]
    if first not in parts or first == path:
        have = f"{next(iter(parts))} of {len(next(iter(parts.values())))}"
        fix = f"a path inside it, as {next(iter(parts))}.0.{'weight' if 'matches' in parts else 'matches.0.weight'}"
        raise fail(f"{path} of the preset {name}", f"it has {have}", fix=fix, where=path)
    recipe_file.put(parts, path, value, f"{path} of the preset {name}")


@cache
def _all() -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = recipe_file.parse(FILE.read_text(encoding="utf-8"))
    return known
