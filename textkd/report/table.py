"""The rows of the report's tables, as plain text cells; the templates only lay them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textkd.report.public import kept, over_teacher
from textkd.report.results import Example, ModelResult, Results, Role, ordered_roles
from textkd.report.words import (
    amount,
    answer,
    difference,
    duration,
    name_of,
    number,
    percent,
    plural,
    probability,
    times,
    whole,
)

SHOWN_CHARACTERS = 400


@dataclass(frozen=True)
class Cell:
    main: str
    sub: str = ""


@dataclass(frozen=True)
class Row:
    label: str
    cells: list[Cell]
    strong: bool = False
    note: str = ""


@dataclass(frozen=True)
class Said:
    """One model's answer to one example; `right` is None where answers are numbers."""

    text: str
    probability: str
    right: bool | None


@dataclass(frozen=True)
class Shown:
    text_a: str
    text_b: str | None
    label: str
    said: list[Said]
    difference: str


def comparison(results: Results) -> list[Row]:
    """Teacher, student, control side by side: quality, size, speed, cost."""
    roles = ordered_roles(results.models)
    models = [results.models[role] for role in roles]
    teacher = results.models["teacher"]
    rows = [_metric_row(results, name, models) for name in results.metric_names]
    rows.insert(1 + results.metric_names.index(results.main_metric), _share_row(results, roles))
    rows.append(
        Row("Parameters", [Cell(*_size(m.parameters, teacher.parameters, whole(m.parameters))) for m in models])
    )
    rows.append(
        Row("Size on disk", [Cell(*_size(m.disk_mb, teacher.disk_mb, amount(m.disk_mb, "MB"))) for m in models])
    )
    rows += _speeds(results, models)
    rows.append(
        Row(
            "Training time",
            [_trained(model) for model in models],
            note="mean over seeds" if len(results.seeds) > 1 else "",
        )
    )
    rows.append(
        Row(
            "Peak memory",
            [Cell(amount(m.peak_mb, "MB")) for m in models],
            note="in training" + (", largest seed" if len(results.seeds) > 1 else ""),
        )
    )
    return rows


def _metric_row(results: Results, name: str, models: list[ModelResult]) -> Row:
    cells = []
    for model in models:
        values = model.values(name)
        spread = f"± {number(model.spread(name))}" if len(values) > 1 else ""
        seeds = plural(len(values), "seed") if model.runs[0].train_s is not None else "as given"
        cells.append(Cell(number(model.mean(name)), f"{spread} ({seeds})".strip() if values else ""))
    note = "lower is better" if results.lower_is_better(name) else ""
    return Row(name_of(name), cells, strong=name == results.main_metric, note=note)


def _share_row(results: Results, roles: list[Role]) -> Row:
    metric = name_of(results.main_metric)
    if results.greater_is_better:
        return Row("Share of the teacher's", [Cell(percent(kept(results, role))) for role in roles], note=metric)
    cells = [_over(None if role == "teacher" else over_teacher(results, role)) for role in roles]
    return Row("Difference from the teacher's", cells, note=f"{metric}; above zero is worse")


def _over(more: float | None) -> Cell:
    if more is None:
        return Cell(difference(None))
    return Cell(difference(more), "worse" if more > 0 else "better" if more < 0 else "the same")


def _speeds(results: Results, models: list[ModelResult]) -> list[Row]:
    """models: the teacher first."""
    batch, unit = results.measure.batch, "images/s" if results.writes else "samples/s"
    one, many = f"batch of {batch.get('latency', 1)}", f"batch of {batch.get('throughput', 1)}"
    rows = [
        _ratio("Latency", models, lambda m: m.latency_ms, "ms", one, inverse=True),
        _ratio("Throughput", models, lambda m: m.samples_per_s, unit, many),
    ]
    if results.writes:
        rows.insert(1, Row("Throughput", [Cell(amount(model.one_by_one_per_s, unit)) for model in models], note=one))
        rows.append(Row("Tokens written", [_written(model) for model in models], note=f"mean per image, {many}"))
        rows.append(Row("Encoder's share", [_encoder(model) for model in models], note="of the latency"))
    return rows


def _ratio(
    label: str,
    models: list[ModelResult],
    of: Callable[[ModelResult], float],
    unit: str,
    note: str,
    inverse: bool = False,
) -> Row:
    cells, theirs = [], of(models[0])
    for index, model in enumerate(models):
        mine = of(model)
        known = index > 0 and mine > 0 and theirs > 0
        sub = f"{times(theirs / mine if inverse else mine / theirs)} the teacher's {'speed' if inverse else 'rate'}"
        cells.append(Cell(amount(mine, unit), sub if known else ""))
    return Row(label, cells, note=note)


def _written(model: ModelResult) -> Cell:
    of_one = model.latency_tokens
    return Cell(amount(model.tokens_per_sample), "" if of_one is None else f"({of_one:g} for the image of the latency)")


def _encoder(model: ModelResult) -> Cell:
    """The decoder has the rest; its time per token compares models that wrote texts of different lengths."""
    if model.encoder_share is None:
        return Cell(percent(None))
    encoder = model.encoder_share * model.latency_ms
    decoder = model.latency_ms - encoder
    each = f": {amount(decoder / model.latency_tokens, 'ms')} a token" if model.latency_tokens else ""
    parts = f"(encoder {amount(encoder, 'ms')}, decoder {amount(decoder, 'ms')}{each})"
    return Cell(percent(model.encoder_share, 0), parts)


def _size(mine: float | None, theirs: float | None, shown: str) -> tuple[str, str]:
    return shown, "" if mine is None or mine == theirs or not theirs else f"{percent(mine / theirs)} of the teacher's"


def _trained(model: ModelResult) -> Cell:
    if model.train_s is None:
        return Cell(duration(None), "not trained here")
    steps = [run.steps for run in model.runs if run.steps is not None]
    return Cell(duration(model.train_s), plural(round(sum(steps) / len(steps)), "step") if steps else "")


def by_seed(results: Results) -> list[list[str]]:
    """Per seed: the seed, then every model's main metric, then student minus control where both ran with that seed."""
    roles = ordered_roles(results.models)
    values = {role: {run.seed: run.metrics[results.main_metric] for run in results.models[role].runs} for role in roles}
    rows = []
    for seed in dict.fromkeys(seed for role in roles for seed in values[role]):
        row = ["given" if seed is None else str(seed), *(number(values[role].get(seed)) for role in roles)]
        if "control" in values:
            both = seed in values["student"] and seed in values["control"]
            row.append(f"{values['student'][seed] - values['control'][seed]:+.4f}" if both else number(None))
        rows.append(row)
    return rows


def examples(results: Results) -> list[Shown]:
    """The disagreements as shown: in the given order, or the largest differences first where answers are numbers."""
    found = results.disagreements
    if found is None:
        return []
    chosen = found.examples
    numbers = found.counts is None
    if numbers:
        chosen = sorted(chosen, key=_difference, reverse=True)
    control = "control" in results.models
    return [_shown(example, control, numbers) for example in chosen]


def _shown(example: Example, control: bool, numbers: bool) -> Shown:
    def said(value: object, chance: float | list[float] | None) -> Said:
        right = None if numbers or value is None else value == example.label
        return Said(answer(value), probability(chance), right)

    models = [said(example.teacher, example.teacher_p), said(example.student, example.student_p)]
    if control:
        models.append(said(example.control, example.control_p))
    second = None if example.text_b is None else _clipped(example.text_b)
    difference = amount(_difference(example)) if numbers else ""
    return Shown(_clipped(example.text_a), second, answer(example.label), models, difference)


def _difference(example: Example) -> float:
    teacher, student = example.teacher, example.student
    if isinstance(teacher, (int, float)) and isinstance(student, (int, float)):
        return abs(teacher - student)
    return 0.0


def _clipped(text: str) -> str:
    left = len(text) - SHOWN_CHARACTERS
    return text if left <= 0 else f"{text[:SHOWN_CHARACTERS].rstrip()} … (+{left:,} characters)"
