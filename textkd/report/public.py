"""report.json, the numbers meant for other programs, and the shares and differences that page and card quote too."""

from __future__ import annotations

import math
from typing import Any

from textkd.report.first_edition import NAMES
from textkd.report.model_result import ModelResult
from textkd.report.results import Results


def share(results: Results, name: str | None, of: str | None) -> float | None:
    """One model's mean main metric divided by another's.

    None without one of them, where the other's is 0 or not a number, and for errors: a share of an error says nothing.
    """
    mine, theirs = _mean(results, name), _mean(results, of)
    return None if mine is None or not theirs or not results.greater_is_better else _finite(mine / theirs)


def more(results: Results, name: str | None, than: str | None) -> float | None:
    """One model's mean main metric minus another's; of an error, what it makes in addition."""
    mine, theirs = _mean(results, name), _mean(results, than)
    return None if mine is None or theirs is None else _finite(mine - theirs)


def kept(results: Results) -> float | None:
    """What the student keeps of the teacher's main metric, as a share; None where there is none."""
    return share(results, results.compare.student, results.compare.teacher)


def summary(results: Results) -> dict[str, Any]:
    """report.json: means and spreads over seeds, sizes, speeds, costs.

    Args:
        results: of the run.

    Returns:
        A mapping that JSON can hold. "models" has every model by its name; those called teacher, student and control
        stand at the top too. Where the main metric is an error, "kept" is null and "over_teacher" holds the difference
        to the teacher's for every other model. Models that write have their generation settings, tokens and encoder's
        share told.
    """
    models = {name: _model_summary(results, model) for name, model in results.models.items()}
    return {
        "task": results.task,
        "seeds": results.seeds,
        **{name: models[name] for name in NAMES if name in models},
        "models": models,
        "compare": results.compare.model_dump(),
        "kept": kept(results),
        **_differences(results),
        "main_metric": results.main_metric,
        **({"generation": results.measure.generation} if results.writes else {}),
        "versions": results.versions,
    }


def _differences(results: Results) -> dict[str, Any]:
    if results.greater_is_better:
        return {}
    teacher = results.compare.teacher
    over = {name: more(results, name, teacher) for name in results.models if name != teacher}
    return {"greater_is_better": False, **({"over_teacher": over} if teacher is not None else {})}


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
        **({"runtime": model.runtime} if model.runtime is not None else {}),
        **({"loads_with": model.loads_with} if model.loads_with is not None else {}),
    }


def _mean(results: Results, name: str | None) -> float | None:
    return None if name is None else results.models[name].mean(results.main_metric)


def _finite(value: float | None) -> float | None:
    # JSON has no not-a-number; other programs read null.
    return value if value is not None and math.isfinite(value) else None
