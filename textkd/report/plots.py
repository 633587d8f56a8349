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
from textkd.report.results import Results
from textkd.report.words import name_of

COLOURS = {"teacher": "#475569", "student": "#2563eb", "control": "#c2570c"}
STYLES = {"student": "-", "control": "--"}
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


def loss_plot(results: Results) -> str | None:
    """The total loss of the student's and the control's first seed; None without a history."""
    lines = {
        role: curves.thinned(curves.total_loss(results.models[role].runs[0]))
        for role in ("student", "control")
        if role in results.models
    }
    lines = {role: line for role, line in lines.items() if line}
    if not lines:
        return None
    with _settings():
        figure = Figure(figsize=(8.6, 2.7), layout="constrained")
        axes = figure.subplots()
        for role, line in lines.items():
            label = {"student": "student, with the teacher", "control": "control, labels only"}[role]
            axes.plot(*_xy(line), color=COLOURS[role], linestyle=STYLES[role], label=label, **_dot(line))
        _finish(axes, results, "total loss", curves.wide(lines.values()))
        axes.legend()
        return _data_address(figure)


def parts_plot(results: Results) -> str | None:
    """Small multiples, one per family of loss parts, of the student's first seed; None without parts."""
    families = curves.loss_parts(results.models["student"].runs[0])
    if not families:
        return None
    columns = min(len(families), 3)
    rows = math.ceil(len(families) / columns)
    with _settings():
        figure = Figure(figsize=(8.6, 2.35 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (family, parts) in zip(grid, families.items(), strict=False):
            _panel(axes, family, {part: curves.thinned(line) for part, line in parts.items()})
            _finish(axes, results, None, curves.wide(parts.values()))
        for axes in grid[len(families) :]:
            axes.set_visible(False)
        return _data_address(figure)


def metric_plot(results: Results) -> str | None:
    """The main metric on the evaluation set over training: seeds thin, their mean thick, the teacher as a level."""
    metric = results.main_metric
    with _settings():
        figure = Figure(figsize=(8.6, 3.0), layout="constrained")
        axes = figure.subplots()
        drawn = False
        for role in ("student", "control"):
            if role not in results.models:
                continue
            model = results.models[role]
            for run in model.runs:
                axes.plot(*_xy(curves.evaluations(run, metric)), color=COLOURS[role], linewidth=0.8, alpha=0.45)
            mean = curves.mean_evaluations(model, metric)
            label = f"{role}, mean of {len(model.runs)} seeds" if len(model.runs) > 1 else role
            axes.plot(
                *_xy(mean), color=COLOURS[role], linestyle=STYLES[role], linewidth=2.2, marker="o", ms=3, label=label
            )
            drawn = drawn or bool(mean)
        level = results.models["teacher"].mean(metric)
        if not drawn:
            return None
        if level is not None and math.isfinite(level):
            axes.axhline(
                level, color=COLOURS["teacher"], linestyle=":", linewidth=1.6, label="teacher, after its training"
            )
        # Errors fall by orders of magnitude, and one early value far above 1 would flatten all that follows.
        lines = [curves.mean_evaluations(results.models[role], metric) for role in STYLES if role in results.models]
        log = not results.greater_is_better and curves.wide(lines)
        _finish(axes, results, name_of(metric) + ("" if results.greater_is_better else ", lower is better"), log)
        axes.legend(loc="best")
        return _data_address(figure)


def _panel(axes: Any, family: str, parts: dict[str, Series]) -> None:
    axes.set_title(family, loc="left", color="#0f172a")
    palette = mpl.colormaps["viridis"]
    for index, (name, line) in enumerate(parts.items()):
        # The palette's bright end does not show on white.
        colour = COLOURS["student"] if len(parts) == 1 else palette(0.85 * index / (len(parts) - 1))
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
    for start in curves.timeline(results.models["student"].runs[0]).stage_starts:
        axes.axvline(start, color="#94a3b8", linewidth=0.9, linestyle=(0, (2, 2)))


def _dot(line: Series) -> dict[str, Any]:
    """A line of one point is not seen."""
    return {"marker": "o", "ms": 4} if len(line) == 1 else {}


def _xy(line: Series) -> Sequence[list[float]]:
    return [x for x, _ in line], [y for _, y in line]


def _settings() -> Any:
    return mpl.rc_context({**_DEFAULTS, **_SETTINGS})


def _data_address(figure: Figure) -> str:
    file = io.StringIO()
    FigureCanvasSVG(figure).print_svg(file)
    # Only the picture: the XML head and matplotlib's metadata block carry a date and addresses of other places.
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    svg = svg[svg.index("<svg") :]
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
