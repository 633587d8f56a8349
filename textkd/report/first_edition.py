"""results.json of textkd's first edition, which knew three models by three fixed names, in the words of today.

Each function takes what a file holds in one place and returns it in today's words; what is in them already, or is too
damaged to tell, comes back as it is. Nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = ("teacher", "student", "control")
# The metrics of that edition where less is better. History: which metrics fall today is the tasks' to say (`falling`).
_FALLING = ("cer", "wer", "mse", "rmse", "mae", "loss", "perplexity")


def results(data: Any) -> Any:
    """Adds which models are compared, who taught the student (the teacher, where the file does not say), and which
    metrics fall."""
    if not isinstance(data, Mapping) or not isinstance(data.get("models"), Mapping):
        return data
    data, models = dict(data), dict(data["models"])
    if "compare" not in data:
        others = {name: name if name in models else None for name in ("teacher", "control")}
        data["compare"] = {"student": "student", **others}
    compare = data["compare"]
    name = compare.get("student") if isinstance(compare, Mapping) else None
    if isinstance(models.get(name), Mapping) and compare.get("teacher") is not None:
        models[name] = {"taught_by": [compare["teacher"]], **models[name]}
    if "falling" not in data:
        data["falling"] = [name for name in _metrics(models) if name.rpartition("_")[2] in _FALLING]
    return {**data, "models": models}


def layer_map(data: Any) -> Any:
    """student_blocks, teacher_blocks -> source_blocks, target_blocks."""
    return _renamed(data, {"student_blocks": "source_blocks", "teacher_blocks": "target_blocks"})


def counts(data: Any) -> Any:
    """only_teacher -> only_reference."""
    return _renamed(data, {"only_teacher": "only_reference"})


def example(data: Any) -> Any:
    """teacher, student_p, ... -> said by model, sure by model."""
    if not isinstance(data, Mapping) or "said" in data:
        return data
    kept = {key: value for key, value in data.items() if key.removesuffix("_p") not in NAMES}
    return {**kept, "said": _by_model(data, ""), "sure": _by_model(data, "_p")}


def line(data: Any) -> Any:
    """teacher, student, control -> said by model."""
    if not isinstance(data, Mapping) or "said" in data:
        return data
    return {**{key: value for key, value in data.items() if key not in NAMES}, "said": _by_model(data, "")}


def _by_model(data: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    return {name: data[name + suffix] for name in NAMES if data.get(name + suffix) is not None}


def _renamed(data: Any, names: Mapping[str, str]) -> Any:
    return {names.get(key, key): value for key, value in data.items()} if isinstance(data, Mapping) else data


def _metrics(models: Mapping[str, Any]) -> list[str]:
    """The names of all metrics, where they can be found."""
    found: dict[str, None] = {}
    for model in models.values():
        runs = model.get("runs") if isinstance(model, Mapping) else None
        first = runs[0] if isinstance(runs, list) and runs else None
        metrics = first.get("metrics") if isinstance(first, Mapping) else None
        found.update(dict.fromkeys(metrics if isinstance(metrics, Mapping) else ()))
    return list(found)
