"""The candidates of a search: which of them nothing beats in both cost and quality, as a picture and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from textkd.report import plots
from textkd.report.evidence import Frontier, Point
from textkd.report.looks import STUDENT
from textkd.report.results import Results
from textkd.report.words import amount, name_of, number


@dataclass(frozen=True)
class Shown:
    """A candidate as the page shows it."""

    name: str
    cost: str
    size: str
    metric: str
    steps: str
    note: str


def best(points: Sequence[Point], rises: bool) -> list[Point]:
    """Those that no other one, trained as long, beats or equals in latency and metric at once; the fastest first.

    Args:
        points: of a search.
        rises: more of the metric is better.
    """
    sign = 1 if rises else -1
    known = [one for one in points if one.metric is not None and math.isfinite(one.metric)]
    found, level = list[Point](), -math.inf
    for one in sorted(known, key=lambda each: (each.latency_ms, -sign * (each.metric or 0.0))):
        value = sign * (one.metric or 0.0)
        if value > level:
            found.append(one)
            level = value
    return found


def rows(results: Results) -> list[Shown]:
    """All candidates, the chosen one first, then by latency."""
    if results.search is None:
        return []
    order = sorted(results.search.points, key=lambda one: (not one.chosen, one.latency_ms))
    return [_shown(one) for one in order]


def _shown(one: Point) -> Shown:
    note = "chosen" if one.chosen else "" if one.fits else "over the budget"
    cost = f"{one.latency_ms:.2f} ms" if math.isfinite(one.latency_ms) else "cannot be made"
    metric = "" if one.metric is None else number(one.metric)
    size = amount(one.size_mb, "MB") if math.isfinite(one.size_mb) else ""
    return Shown(one.name, cost, size, metric, f"{one.steps:,}" if one.steps else "", note)


def picture(results: Results) -> str | None:
    """Metric over latency of all candidates that were trained, as an address of an SVG; None without any."""
    told = results.search
    if told is None or not any(one.metric is not None for one in told.points):
        return None
    with plots.settings():
        figure = Figure(figsize=(8.6, 3.2), layout="constrained")
        axes = figure.subplots()
        for one in told.points:
            if one.metric is not None:
                colour = STUDENT if one.chosen else "#94a3b8"
                axes.plot([one.latency_ms], [one.metric], marker="o", ms=7 if one.chosen else 5, color=colour)
                axes.annotate(f" {one.name}", (one.latency_ms, one.metric), fontsize=6.5, color="#475569")
        front = best(told.points, results.greater_is_better)
        axes.plot([one.latency_ms for one in front], [one.metric or 0.0 for one in front], color="#475569", linewidth=1)
        if told.latency_ms is not None:
            axes.axvline(told.latency_ms, color="#b91c1c", linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlabel("milliseconds for one text")
        axes.set_ylabel(name_of(results.main_metric))
        return plots.data_address(figure)


def budget(told: Frontier) -> str:
    """The budget of a search, in words."""
    parts = [(told.latency_ms, "ms"), (told.size_mb, "MB")]
    return " and ".join(f"{value:g} {unit}" for value, unit in parts if value is not None)
