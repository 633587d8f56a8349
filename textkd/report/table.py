"""The rows of the report's tables, as plain text cells; the templates only lay them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textkd.report.evidence import Example
from textkd.report.model_result import ModelResult
from textkd.report.public import more, share
from textkd.report.results import Results
from textkd.report.words import (
    amount,
    answer,
    difference,
    duration,
    label,
    name_of,
    number,
    percent,
    plural,
    probability,
    spoken,
    times,
    title,
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
    """All models side by side: quality, size, speed, cost. Shares are those of `Results.reference`."""
    models, seeds = list(results.models.values()), len(results.seeds)
    rows = [_metric_row(results, name, models) for name in results.metric_names]
    if results.reference is not None:
        rows.insert(1 + results.metric_names.index(results.main_metric), _share_row(results, results.reference))
    return [
        *rows,
        *_sizes(results),
        *_speeds(results, models),
        Row("Training time", [_trained(model) for model in models], note="mean over seeds" if seeds > 1 else ""),
        Row(
            "Peak memory",
            [Cell(amount(m.peak_mb, "MB")) for m in models],
            note="in training" + (", largest seed" if seeds > 1 else ""),
        ),
    ]


def _metric_row(results: Results, name: str, models: list[ModelResult]) -> Row:
    cells = []
    for model in models:
        values = model.values(name)
        spread = f"± {number(model.spread(name))}" if len(values) > 1 else ""
        given = "as given" if model.runtime is None else "as shipped"
        seeds = given if model.runs[0].train_s is None else plural(len(values), "seed")
        cells.append(Cell(number(model.mean(name)), f"{spread} ({seeds})".strip() if values else ""))
    note = "lower is better" if results.lower_is_better(name) else ""
    return Row(name_of(name), cells, strong=name == results.main_metric, note=note)


def _share_row(results: Results, reference: str) -> Row:
    metric, theirs = name_of(results.main_metric), f"{spoken(reference)}'s"
    if results.greater_is_better:
        cells = [Cell(percent(share(results, name, reference))) for name in results.models]
        return Row(f"Share of {theirs}", cells, note=metric)
    cells = [_over(None if name == reference else more(results, name, reference)) for name in results.models]
    return Row(f"Difference from {theirs}", cells, note=f"{metric}; above zero is worse")


def _over(value: float | None) -> Cell:
    if value is None:
        return Cell(difference(None))
    return Cell(difference(value), "worse" if value > 0 else "better" if value < 0 else "the same")


def _sizes(results: Results) -> list[Row]:
    models = results.models.values()
    counts = _shares(results, [(model.parameters, whole(model.parameters)) for model in models])
    sizes = _shares(results, [(model.disk_mb, amount(model.disk_mb, "MB")) for model in models])
    return [Row("Parameters", counts), Row("Size on disk", sizes)]


def _shares(results: Results, sizes: Sequence[tuple[float | None, str]]) -> list[Cell]:
    """sizes: of every model, as a number and as shown. Below each, its share of the reference's where they differ."""
    whose = results.reference
    theirs = None if whose is None else sizes[list(results.models).index(whose)][0]
    cells = []
    for mine, shown in sizes:
        if whose is None or mine is None or not theirs or mine == theirs:
            cells.append(Cell(shown))
        else:
            cells.append(Cell(shown, f"{percent(mine / theirs)} of {spoken(whose)}'s"))
    return cells


def _speeds(results: Results, models: list[ModelResult]) -> list[Row]:
    batch, unit = results.measure.batch, "texts/s" if results.writes else "samples/s"
    one, many = f"batch of {batch.get('latency', 1)}", f"batch of {batch.get('throughput', 1)}"
    rows = [
        Row("Latency", _ratios(results, lambda m: m.latency_ms, "ms", "speed", inverse=True), note=one),
        Row("Throughput", _ratios(results, lambda m: m.samples_per_s, unit, "rate"), note=many),
    ]
    if results.writes:
        rows.insert(1, Row("Throughput", [Cell(amount(model.one_by_one_per_s, unit)) for model in models], note=one))
        rows.append(Row("Tokens written", [_written(model, one) for model in models], note=f"mean per text, {many}"))
        rows.append(Row("Encoder's share", [_encoder(model) for model in models], note="of the latency"))
    if any(model.runtime is not None for model in models):
        rows.append(Row("Runtime", [Cell(model.runtime or "PyTorch") for model in models], note="of the speeds"))
    return rows


def _ratios(
    results: Results, of: Callable[[ModelResult], float], unit: str, what: str, inverse: bool = False
) -> list[Cell]:
    """Amounts, and below each how many times the reference's it is; inverse: of amounts that are better when less."""
    reference = results.reference
    theirs = of(results.models[reference]) if reference is not None else 0.0
    cells = []
    for name, model in results.models.items():
        mine = of(model)
        if reference is None or name == reference or not (mine > 0 and theirs > 0):
            cells.append(Cell(amount(mine, unit)))
        else:
            ratio = times(theirs / mine if inverse else mine / theirs)
            cells.append(Cell(amount(mine, unit), f"{ratio} {spoken(reference)}'s {what}"))
    return cells


def _written(model: ModelResult, batch: str) -> Cell:
    of_one = model.latency_tokens
    return Cell(amount(model.tokens_per_sample), "" if of_one is None else f"({of_one:g} in the {batch})")


def _encoder(model: ModelResult) -> Cell:
    """The decoder has the rest; its time per token compares models that wrote texts of different lengths."""
    if model.encoder_share is None:
        return Cell(percent(None))
    encoder = model.encoder_share * model.latency_ms
    decoder = model.latency_ms - encoder
    each = f": {amount(decoder / model.latency_tokens, 'ms')} a token" if model.latency_tokens else ""
    parts = f"(encoder {amount(encoder, 'ms')}, decoder {amount(decoder, 'ms')}{each})"
    return Cell(percent(model.encoder_share, 0), parts)


def _trained(model: ModelResult) -> Cell:
    if model.train_s is None:
        return Cell(duration(None), "not trained here")
    steps = [run.steps for run in model.runs if run.steps is not None]
    return Cell(duration(model.train_s), plural(round(sum(steps) / len(steps)), "step") if steps else "")


def seed_heads(results: Results) -> list[str]:
    """The heads of the columns of `by_seed`."""
    heads = ["Seed", *(title(name) for name in results.models)]
    if results.control is None:
        return heads
    return [*heads, f"{title(results.compare.student)} \N{MINUS SIGN} {label(str(results.compare.control))}"]


def by_seed(results: Results) -> list[list[str]]:
    """Per seed: the seed, then every model's main metric, then student minus control where both ran with that seed."""
    values = {
        name: {run.seed: run.metrics[results.main_metric] for run in model.runs}
        for name, model in results.models.items()
    }
    rows = []
    for seed in dict.fromkeys(seed for found in values.values() for seed in found):
        row = ["given" if seed is None else str(seed), *(number(found.get(seed)) for found in values.values())]
        if results.compare.control is not None:
            student, control = values[results.compare.student], values[results.compare.control]
            both = seed in student and seed in control
            row.append(f"{student[seed] - control[seed]:+.4f}" if both else number(None))
        rows.append(row)
    return rows


def examples(results: Results) -> list[Shown]:
    """The disagreements as shown: in the given order, or the largest differences first where answers are numbers."""
    found = results.disagreements
    if found is None or results.reference is None:
        return []
    pair = (results.reference, results.compare.student)
    if found.counts is not None:
        return [_shown(example, results, "") for example in found.examples]
    apart = sorted(((_difference(example, pair), example) for example in found.examples), key=lambda one: -one[0])
    return [_shown(example, results, amount(distance)) for distance, example in apart]


def _shown(example: Example, results: Results, distance: str) -> Shown:
    """distance: between the two that are compared, where answers are numbers and nobody is right or wrong."""
    models = []
    for name in results.models:
        value = example.said.get(name)
        right = None if distance or value is None else value == example.label
        models.append(Said(answer(value), probability(example.sure.get(name)), right))
    second = None if example.text_b is None else _clipped(example.text_b)
    return Shown(_clipped(example.text_a), second, answer(example.label), models, distance)


def _difference(example: Example, pair: tuple[str, str]) -> float:
    one, other = (example.said.get(name) for name in pair)
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other)
    return 0.0


def _clipped(text: str) -> str:
    left = len(text) - SHOWN_CHARACTERS
    return text if left <= 0 else f"{text[:SHOWN_CHARACTERS].rstrip()} … (+{left:,} characters)"
