"""What the curves are made of: series of (step, value) out of the runs' histories. Knows nothing of drawing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from textkd.report.model_result import HistoryRow, ModelResult, Run

Series = list[tuple[float, float]]
POINTS = 300
WIDE = 20.0


@dataclass(frozen=True)
class Timeline:
    """A run's rows on one axis of steps: stages follow each other even where each counts its steps from 0."""

    rows: list[tuple[float, HistoryRow]]
    stage_starts: list[float]


def timeline(run: Run) -> Timeline:
    rows: list[tuple[float, HistoryRow]] = []
    starts: list[float] = []
    offset, last = 0.0, None
    for row in run.history:
        if last is not None and row.stage != last.stage:
            end = last.step + offset
            offset = end if row.step < last.step else offset
            starts.append(end)
        rows.append((row.step + offset, row))
        last = row
    return Timeline(rows, starts)


def total_loss(run: Run) -> Series:
    return [(step, row.loss) for step, row in timeline(run).rows if row.loss is not None and math.isfinite(row.loss)]


def loss_parts(run: Run) -> dict[str, dict[str, Series]]:
    """Family ("hidden/mse") -> part's name -> its series; in order of first appearance."""
    parts: dict[str, dict[str, Series]] = defaultdict(lambda: defaultdict(list))
    for step, row in timeline(run).rows:
        for name, value in row.parts.items():
            if math.isfinite(value):
                parts[family(name)][name].append((step, value))
    return {group: dict(series) for group, series in parts.items()}


def family(part: str) -> str:
    """Parts that compare the same kind of thing with the same loss: "hidden:1<-2/mse" -> "hidden/mse"."""
    where, _, loss = part.rpartition("/")
    tap = (where or loss).split("<-")[0].split(":")[0]
    return f"{tap}/{loss}" if where else tap


def short(part: str, most: int = 26) -> str:
    """The part's name inside its family's panel: "hidden:1<-2/mse" -> "1 ← 2"."""
    where = part.rpartition("/")[0] or part
    source, arrow, target = where.partition("<-")
    name = source.partition(":")[2] or source
    name = f"{name} ← {target}" if arrow else name
    return name if len(name) <= most else f"…{name[-most + 1 :]}"


def evaluations(run: Run, metric: str) -> Series:
    """The metric over the steps; Trainer's own prefix is understood too."""
    found = []
    for step, row in timeline(run).rows:
        logged = row.eval or {}
        value = logged.get(metric, logged.get(f"eval_{metric}"))
        if value is not None and math.isfinite(value):
            found.append((step, value))
    return found


def mean_evaluations(model: ModelResult, metric: str) -> Series:
    """The mean over all seeds at the steps where every seed was evaluated."""
    runs = [dict(series) for run in model.runs if (series := evaluations(run, metric))]
    shared = set.intersection(*(set(run) for run in runs)) if runs else set()
    return [(step, sum(run[step] for run in runs) / len(runs)) for step in sorted(shared)]


def thinned(series: Series, most: int = POINTS) -> Series:
    """At most `most` points: neighbours are averaged, so that no spike is hidden by chance."""
    if len(series) <= most:
        return series
    size = math.ceil(len(series) / most)
    groups = [series[i : i + size] for i in range(0, len(series), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def wide(series: Iterable[Series]) -> bool:
    """Whether the values need a logarithmic axis: all above zero, the largest over 20 times the smallest."""
    values = [y for one in series for _, y in one]
    return bool(values) and min(values) > 0 and max(values) > WIDE * min(values)
