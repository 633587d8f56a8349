"""The report's first sentences. They say it plainly when distilling did not help."""

from __future__ import annotations

import math

from textkd.report.public import kept
from textkd.report.results import ModelResult, Results
from textkd.report.words import difference, name_of, number, percent, times

# Below this two speeds are told as the same: medians of short forwards repeat to a few percent at best.
SAME_SPEED = 1.05
# From this on the lengths of the texts that two models wrote are told beside their speeds.
SAME_LENGTH = 1.1


def headline(results: Results) -> str:
    """What the student keeps of the teacher and what the teacher was worth to it, in two or three sentences."""
    if _all_the_same(results):
        return (
            "Nothing can be concluded: all models score exactly the same in every metric. "
            f"Models that {'write the same for every image' if results.writes else 'give every text the same answer'} "
            "do that."
        )
    return f"{_against_teacher(results)} {_against_control(results)}"


def timing_noise(results: Results) -> float | None:
    """How many times slower one of student and control was timed than the other, though both are the same model.

    None without a control of the student's own shape, or where the two wrote texts of different lengths. It is the
    error of this run's latencies, seen, not estimated.
    """
    student, control = results.models["student"], results.models.get("control")
    if control is None or (control.architecture, control.parameters) != (student.architecture, student.parameters):
        return None
    if results.writes and (student.latency_tokens is None or student.latency_tokens != control.latency_tokens):
        return None
    slow, fast = max(student.latency_ms, control.latency_ms), min(student.latency_ms, control.latency_ms)
    return slow / fast if fast > 0 else None


def _all_the_same(results: Results) -> bool:
    scores = [{name: model.mean(name) for name in model.runs[0].metrics} for model in results.models.values()]
    return all(score == scores[0] for score in scores)


def _against_teacher(results: Results) -> str:
    student, teacher = results.models["student"], results.models["teacher"]
    metric = name_of(results.main_metric)
    value, teachers = _mean(results, "student"), _mean(results, "teacher")
    if not (math.isfinite(value) and math.isfinite(teachers)):
        return f"The comparison failed: {metric} of the student or the teacher is not a number."
    share = kept(results)
    if results.greater_is_better and share is not None and teachers > 0 and value >= 0:
        quality = f"{'keeps' if share <= 1 else 'reaches'} {percent(share)} of the teacher's {metric}"
    elif results.greater_is_better:
        quality = f"reaches {metric} {number(value)} where the teacher has {number(teachers)}"
    else:
        quality = f"reaches {metric} {number(value)} (lower is better), {_beside(value, teachers)} {number(teachers)}"
    if len(student.runs) > 1 and value != teachers and abs(value - teachers) <= _threshold(results, "teacher"):
        quality += " (a difference within the spread)"
    quality += "" if results.greater_is_better else ","
    mine, theirs = student.parameters, teacher.parameters
    size = f"with {percent(mine / theirs, 0)} of its parameters " if mine is not None and theirs else ""
    speed = _speed(teacher.latency_ms, student.latency_ms, timing_noise(results) or 1.0)
    return f"The student {quality} {size}and {speed}{_lengths(student, teacher)}."


def _beside(value: float, teachers: float) -> str:
    """A share of an error says nothing, so the two are subtracted."""
    if value == teachers:
        return "the same as the teacher's"
    if value < teachers:
        return f"{number(teachers - value)} under the teacher's"
    return f"{difference(value - teachers)} over the teacher's"


def _lengths(student: ModelResult, teacher: ModelResult) -> str:
    """A model that stops early looks fast, one that never stops looks slow."""
    mine, theirs = student.latency_tokens, teacher.latency_tokens
    if not mine or not theirs or max(mine / theirs, theirs / mine) < SAME_LENGTH:
        return ""
    return f" (it wrote {mine:g} tokens where the teacher wrote {theirs:g})"


def _speed(teacher_ms: float, student_ms: float, noise: float) -> str:
    if not (student_ms > 0 and teacher_ms > 0):
        return "was not timed"
    ratio = teacher_ms / student_ms
    if max(ratio, 1 / ratio) < max(SAME_SPEED, noise):
        return "is about as fast" + (" (a difference within the noise of the timing)" if noise > SAME_SPEED else "")
    if ratio > 1:
        return f"is {times(ratio)} as fast"
    return f"is no faster: it takes {times(1 / ratio)} the time"


def _against_control(results: Results) -> str:
    if "control" not in results.models:
        return "Whether the teacher helped is unknown: the same student was not trained without it."
    value, control = _mean(results, "student"), _mean(results, "control")
    if not (math.isfinite(value) and math.isfinite(control)):
        return "The comparison with the student trained without a teacher failed: a metric is not a number."
    reached = f"without a teacher the same student reaches {number(control)} instead of {number(value)}"
    if not results.greater_is_better and math.isfinite(teachers := _mean(results, "teacher")):
        reached += f" ({_beside(control, teachers)})"
    gain = value - control if results.greater_is_better else control - value
    runs = min(len(results.models[role].runs) for role in ("student", "control"))
    if gain == 0:
        return f"The teacher made no difference: without it the same student reaches the same {number(control)}."
    if runs > 1 and abs(gain) <= _threshold(results, "control"):
        spread = number(_threshold(results, "control"))
        return f"No gain is shown: {reached}, a difference within the spread over {runs} seeds (±{spread})."
    chance = "" if runs > 1 else " With one seed, chance is not ruled out."
    if gain < 0:
        return f"Distilling did not help: {reached}.{chance}"
    return f"{reached[0].upper()}{reached[1:]}.{chance}"


def _mean(results: Results, role: str) -> float:
    value = next(model for name, model in results.models.items() if name == role).mean(results.main_metric)
    return math.nan if value is None else value


def _threshold(results: Results, other: str) -> float:
    """The larger of the two sample standard deviations over seeds."""
    return max(
        model.spread(results.main_metric) for role, model in results.models.items() if role in ("student", other)
    )
