"""report.json, the numbers meant for other programs, and the shares and differences that page and card quote too."""

from __future__ import annotations

import math
from typing import Any

from textkd.report.results import ROLES, ModelResult, Results, Role


def kept(results: Results, role: Role = "student") -> float | None:
    """That model's mean main metric divided by the teacher's.

    None where the teacher's is 0 or not a number, and for errors (CER): a share of an error keeps nothing.
    """
    if not results.greater_is_better:
        return None
    model = results.models[role].mean(results.main_metric)
    teacher = results.models["teacher"].mean(results.main_metric)
    if model is None or not teacher:
        return None
    return _finite(model / teacher)


def over_teacher(results: Results, role: Role = "student") -> float | None:
    """That model's mean main metric minus the teacher's; of an error (CER), what the model makes in addition."""
    model = results.models[role].mean(results.main_metric)
    teacher = results.models["teacher"].mean(results.main_metric)
    return None if model is None or teacher is None else _finite(model - teacher)


def summary(results: Results) -> dict[str, Any]:
    """report.json: means and spreads over seeds, sizes, speeds, costs.

    Where the main metric is an error, "kept" is null and "over_teacher" holds the difference to the teacher's for the
    student and the control. Models that write have their generation settings, tokens and encoder's share told.
    """
    models: dict[str, Any] = {
        role: _model_summary(results, results.models[role]) for role in ROLES if role in results.models
    }
    return {
        "task": results.task,
        "seeds": results.seeds,
        **models,
        "kept": kept(results),
        **_differences(results),
        "main_metric": results.main_metric,
        **({"generation": results.measure.generation} if results.writes else {}),
        "versions": results.versions,
    }


def _differences(results: Results) -> dict[str, Any]:
    if results.greater_is_better:
        return {}
    others = [role for role in ROLES if role in results.models and role != "teacher"]
    return {"greater_is_better": False, "over_teacher": {role: over_teacher(results, role) for role in others}}


def _model_summary(results: Results, model: ModelResult) -> dict[str, Any]:
    names = [name for name in results.metric_names if name in model.runs[0].metrics]
    writing = {
        "one_by_one_per_s": model.one_by_one_per_s,
        "encoder_share": model.encoder_share,
        "latency_tokens": model.latency_tokens,
        "tokens_per_sample": model.tokens_per_sample,
    }
    return {
        "metrics": {name: _finite(model.mean(name)) for name in names},
        "spread": {name: _finite(model.spread(name)) if len(model.runs) > 1 else None for name in names},
        "parameters": model.parameters,
        "disk_mb": _finite(model.disk_mb),
        "latency_ms": _finite(model.latency_ms),
        "samples_per_s": _finite(model.samples_per_s),
        **({name: _finite(value) for name, value in writing.items()} if results.writes else {}),
        "train_s": _finite(model.train_s),
        "peak_mb": _finite(model.peak_mb),
    }


def _finite(value: float | None) -> float | None:
    # JSON has no not-a-number; other programs read null.
    return value if value is not None and math.isfinite(value) else None
