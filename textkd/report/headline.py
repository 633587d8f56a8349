"""The report's first sentences. They say it plainly when distilling did not help."""

from __future__ import annotations

import math

from textkd.report.model_result import ModelResult
from textkd.report.public import kept
from textkd.report.results import Results
from textkd.report.words import amount, difference, listed, name_of, number, percent, sentence, spoken, times

# Below this two speeds are told as the same: medians of short forwards repeat to a few percent at best.
SAME_SPEED = 1.05
# From this on the lengths of the texts that two models wrote are told beside their speeds.
SAME_LENGTH = 1.1
# Up to so many further models are told one by one; of more, the best.
FEW = 3


def headline(results: Results) -> str:
    """What the student keeps of the teacher and what the teacher was worth to it, in two to four sentences.

    Without a teacher: what the student reaches, and what training it that way was worth. Models beside those that are
    compared get one sentence.
    """
    if _all_the_same(results):
        best = 1.0 if results.greater_is_better else 0.0
        if _mean(results, results.student) == best:
            return (
                "Nothing can be concluded: all models score exactly the same, and none can score better "
                f"({name_of(results.main_metric)} {number(best)}). Harder evaluation rows would tell them apart."
            )
        return (
            "Nothing can be concluded: all models score exactly the same in every metric. "
            f"Models that {'write the same for every input' if results.writes else 'give every text the same answer'} "
            "do that."
        )
    first = _alone(results) if results.teacher is None else _against_teacher(results, results.teacher)
    return " ".join(part for part in (first, _against_control(results), _others(results), _shipped(results)) if part)


def timing_noise(results: Results) -> float | None:
    """How many times slower one of student and control was timed than the other, though both are the same model.

    None without a control of the student's own shape, or where the two wrote texts of different lengths. It is the
    error of this run's latencies, seen, not estimated.
    """
    student, control = results.student, results.control
    if control is None or (control.architecture, control.parameters) != (student.architecture, student.parameters):
        return None
    if results.writes and (student.latency_tokens is None or student.latency_tokens != control.latency_tokens):
        return None
    slow, fast = max(student.latency_ms, control.latency_ms), min(student.latency_ms, control.latency_ms)
    return slow / fast if fast > 0 else None


def _all_the_same(results: Results) -> bool:
    """Of models to compare, that is: what is shipped of one model scores as it does, and well so."""
    models = [model for model in results.models.values() if model.runtime is None]
    scores = [{name: model.mean(name) for name in model.runs[0].metrics} for model in models]
    return len(scores) > 1 and all(score == scores[0] for score in scores)


def _alone(results: Results) -> str:
    """What the student reaches, where there is no teacher to measure it by."""
    metric, student = name_of(results.main_metric), spoken(results.compare.student)
    value = _mean(results, results.student)
    if not math.isfinite(value):
        return f"The comparison failed: {metric} of {student} is not a number."
    lower = "" if results.greater_is_better else " (lower is better)"
    return f"{sentence(student)} reaches {metric} {number(value)}{lower}."


def _against_teacher(results: Results, teacher: ModelResult) -> str:
    student = results.student
    mine, theirs = spoken(results.compare.student), spoken(str(results.compare.teacher))
    metric = name_of(results.main_metric)
    value, teachers = _mean(results, student), _mean(results, teacher)
    if not (math.isfinite(value) and math.isfinite(teachers)):
        return f"The comparison failed: {metric} of {mine} or {theirs} is not a number."
    share = kept(results)
    if results.greater_is_better and share is not None and teachers > 0 and value >= 0:
        quality = f"{'keeps' if share <= 1 else 'reaches'} {percent(share)} of {theirs}'s {metric}"
    elif results.greater_is_better:
        quality = f"reaches {metric} {number(value)} where {theirs} has {number(teachers)}"
    else:
        beside = _beside(value, teachers, theirs)
        quality = f"reaches {metric} {number(value)} (lower is better), {beside} {number(teachers)}"
    if len(student.runs) > 1 and value != teachers and abs(value - teachers) <= _spread(results, teacher):
        quality += " (a difference within the spread)"
    quality += "" if results.greater_is_better else ","
    some, all_of = student.parameters, teacher.parameters
    size = f"with {percent(some / all_of, 0)} of its parameters " if some is not None and all_of else ""
    speed = _speed(teacher.latency_ms, student.latency_ms, timing_noise(results) or 1.0)
    return f"{sentence(mine)} {quality} {size}and {speed}{_lengths(student, teacher, theirs)}."


def _beside(value: float, teachers: float, teacher: str) -> str:
    """A share of an error says nothing, so the two are subtracted."""
    if value == teachers:
        return f"the same as {teacher}'s"
    if value < teachers:
        return f"{number(teachers - value)} under {teacher}'s"
    return f"{difference(value - teachers)} over {teacher}'s"


def _lengths(student: ModelResult, teacher: ModelResult, name: str) -> str:
    """A model that stops early looks fast, one that never stops looks slow."""
    mine, theirs = student.latency_tokens, teacher.latency_tokens
    if not mine or not theirs or max(mine / theirs, theirs / mine) < SAME_LENGTH:
        return ""
    return f" (it wrote {mine:g} tokens where {name} wrote {theirs:g})"


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
    """What the teacher, or without one the way of training, was worth to the student."""
    taught = results.teacher is not None
    cause, without = ("the teacher", "without a teacher") if taught else ("distillation", "without distillation")
    same = "the same student" if taught else "the same model"
    if results.control is None:
        return f"Whether {cause} helped is unknown: {same} was not trained without it."
    value, control = _mean(results, results.student), _mean(results, results.control)
    if not (math.isfinite(value) and math.isfinite(control)):
        what = "student" if taught else "model"
        return f"The comparison with the {what} trained {without} failed: a metric is not a number."
    reached = f"{without} {same} reaches {number(control)} instead of {number(value)}"
    if results.teacher is not None and not results.greater_is_better:
        teachers, name = _mean(results, results.teacher), spoken(str(results.compare.teacher))
        reached += f" ({_beside(control, teachers, name)})" if math.isfinite(teachers) else ""
    gain = value - control if results.greater_is_better else control - value
    runs = min(len(results.student.runs), len(results.control.runs))
    if gain == 0:
        return f"{sentence(cause)} made no difference: without it {same} reaches the same {number(control)}."
    spread = _spread(results, results.control)
    if runs > 1 and abs(gain) <= spread:
        return f"No gain is shown: {reached}, a difference within the spread over {runs} seeds (±{number(spread)})."
    chance = "" if runs > 1 else " With one seed, chance is not ruled out."
    if gain < 0:
        return f"Distilling did not help: {reached}.{chance}"
    return f"{sentence(reached)}.{chance}"


def _others(results: Results) -> str:
    """What the models beside the three that are compared reach: each of a few, the best of many."""
    sign = 1 if results.greater_is_better else -1
    found = {name: _mean(results, results.models[name]) for name in results.others if name not in results.shipped}
    known = {name: value for name, value in found.items() if math.isfinite(value)}
    if not known:
        return ""
    if len(found) > FEW:
        best = max(known, key=lambda name: sign * known[name])
        return f"Of the {len(found)} other models, {spoken(best)} does best: {number(known[best])}."
    reached = [f"{spoken(name)} reaches {number(value)}" for name, value in known.items()]
    return f"{sentence(listed(reached))}."


def _shipped(results: Results) -> str:
    """What is shipped of the models in another form: how good, how large, how fast beside the first model."""
    said = []
    for name in results.shipped:
        one, reference = results.models[name], results.models[next(iter(results.models))]
        size = "" if one.disk_mb is None else f" in {amount(one.disk_mb, 'MB')}"
        ratio = reference.latency_ms / one.latency_ms if one.latency_ms > 0 else math.nan
        first = spoken(next(iter(results.models)))
        speed = f", {times(ratio)} as fast as {first} in batches of one" if math.isfinite(ratio) else ""
        said.append(f"{name_of(results.main_metric)} {number(_mean(results, one))}{size}{speed} ({name})")
    return f"Shipped: {'; '.join(said)}." if said else ""


def _mean(results: Results, model: ModelResult) -> float:
    value = model.mean(results.main_metric)
    return math.nan if value is None else value


def _spread(results: Results, other: ModelResult) -> float:
    """The larger of two sample standard deviations over seeds: the student's and another model's."""
    return max(results.student.spread(results.main_metric), other.spread(results.main_metric))
