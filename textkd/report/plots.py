"""Draws the learning curves with matplotlib, as SVG inside a data: address. The same results give the same bytes."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from textkd.report import curves
from textkd.report.curves import Series
from textkd.report.looks import LEVEL, STUDENT, looks
from textkd.report.results import Results
from textkd.report.words import label, listed, name_of, spoken

# Up to so many entries a legend stands inside the axes; of more than ROWS, in two columns.
INSIDE, ROWS = 4, 14
# Quiet, fixed, and without the user's matplotlibrc: the bytes must depend on the results only.
_SETTINGS = {
    "svg.hashsalt": "textkd",
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#94a3b8",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
    "grid.linewidth": 0.7,
    "xtick.color": "#475569",
    "ytick.color": "#475569",
    "axes.labelcolor": "#475569",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.5,
    "text.parse_math": False,
}


# Without the backend: it belongs to the user's process, and rc_context would not give it back.
_DEFAULTS = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")}


def learners(results: Results) -> list[str]:
    """The models whose training is drawn: those that are not only somebody's teacher."""
    return [name for name in results.models if name not in results.top_teachers]


def losses(results: Results) -> dict[str, Series]:
    """The total loss of each learner's first seed, of those that have a history."""
    found = {name: curves.thinned(curves.total_loss(results.models[name].runs[0])) for name in learners(results)}
    return {name: line for name, line in found.items() if line}


def loss_plot(results: Results) -> str | None:
    """The total loss of each learner's first seed; None without a history."""
    lines, look = losses(results), looks(results)
    if not lines:
        return None
    with settings():
        figure = Figure(figsize=(8.6, 2.7), layout="constrained")
        axes = figure.subplots()
        for name, line in lines.items():
            teachers = listed([spoken(teacher) for teacher in results.models[name].taught_by])
            told = f"{label(name)}, {'taught by ' + teachers if teachers else 'without a teacher'}"
            axes.plot(*_xy(line), color=look[name].colour, linestyle=look[name].dashes, label=told, **_dot(line))
        _finish(axes, results, "total loss", curves.wide(lines.values()))
        _legend(axes)
        return data_address(figure)


def parts_plot(results: Results) -> str | None:
    """Small multiples, one per family of loss parts, of the student's first seed; None without parts."""
    families = curves.loss_parts(results.student.runs[0])
    if not families:
        return None
    columns = min(len(families), 3)
    rows = math.ceil(len(families) / columns)
    with settings():
        figure = Figure(figsize=(8.6, 2.35 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (family, parts) in zip(grid, families.items(), strict=False):
            _panel(axes, family, {part: curves.thinned(line) for part, line in parts.items()})
            _finish(axes, results, None, curves.wide(parts.values()))
        for axes in grid[len(families) :]:
            axes.set_visible(False)
        return data_address(figure)


def metric_plot(results: Results) -> str | None:
    """The main metric on the evaluation set over training: seeds thin, their mean thick, teachers as levels."""
    metric, look = results.main_metric, looks(results)
    means = {name: curves.mean_evaluations(results.models[name], metric) for name in learners(results)}
    if not any(means.values()):
        return None
    with settings():
        figure = Figure(figsize=(8.6, 3.0), layout="constrained")
        axes = figure.subplots()
        for name, mean in means.items():
            runs, how = results.models[name].runs, look[name]
            for run in runs:
                axes.plot(*_xy(curves.evaluations(run, metric)), color=how.colour, linewidth=0.8, alpha=0.45)
            if mean:
                told = f"{label(name)}, mean of {len(runs)} seeds" if len(runs) > 1 else label(name)
                line = {"color": how.colour, "linestyle": how.dashes, "linewidth": 2.2, "label": told}
                axes.plot(*_xy(mean), marker="o", ms=3, **line)
        for name in results.top_teachers:
            level = results.models[name].mean(metric)
            if level is not None and math.isfinite(level):
                told = f"{label(name)}, after its training"
                axes.axhline(level, color=look[name].colour, linestyle=LEVEL, linewidth=1.6, label=told)
        # Errors fall by orders of magnitude, and one early value far above 1 would flatten all that follows.
        log = not results.greater_is_better and curves.wide(means.values())
        _finish(axes, results, name_of(metric) + ("" if results.greater_is_better else ", lower is better"), log)
        _legend(axes)
        return data_address(figure)


def _legend(axes: Any) -> None:
    """Inside the axes where it is short, beside them where it would cover the lines."""
    entries = len(axes.get_legend_handles_labels()[1])
    if entries <= INSIDE:
        axes.legend(loc="best")
    else:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), ncols=1 if entries <= ROWS else 2)


def _panel(axes: Any, family: str, parts: dict[str, Series]) -> None:
    axes.set_title(family, loc="left", color="#0f172a")
    palette = mpl.colormaps["viridis"]
    for index, (name, line) in enumerate(parts.items()):
        # The palette's bright end does not show on white.
        colour = STUDENT if len(parts) == 1 else palette(0.85 * index / (len(parts) - 1))
        # The space: matplotlib hides labels that begin with an underscore.
        axes.plot(*_xy(line), color=colour, linewidth=1.2, label=f" {curves.short(name)}", **_dot(line))
    if len(parts) > 1:
        axes.legend(ncols=1 if len(parts) <= 4 else 2, handlelength=1.2, columnspacing=0.8, labelspacing=0.25)


def _finish(axes: Any, results: Results, ylabel: str | None, log: bool) -> None:
    if log:
        axes.set_yscale("log")
        # Plain numbers: the powers of ten that matplotlib writes need its maths, which part names must not meet.
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step")
    if ylabel:
        axes.set_ylabel(ylabel)
    for start in curves.timeline(results.student.runs[0]).stage_starts:
        axes.axvline(start, color="#94a3b8", linewidth=0.9, linestyle=(0, (2, 2)))


def _dot(line: Series) -> dict[str, Any]:
    """A line of one point is not seen."""
    return {"marker": "o", "ms": 4} if len(line) == 1 else {}


def _xy(line: Series) -> Sequence[list[float]]:
    return [x for x, _ in line], [y for _, y in line]


def settings() -> Any:
    return mpl.rc_context({**_DEFAULTS, **_SETTINGS})


def data_address(figure: Figure) -> str:
    file = io.StringIO()
    FigureCanvasSVG(figure).print_svg(file)
    # Only the picture: the XML head and matplotlib's metadata block carry a date and addresses of other places.
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    svg = svg[svg.index("<svg") :]
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
