"""Commands on recipes: run, check, plan, cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from textkd.cli.for_good import for_good
from textkd.cli.say import say, show

RecipeFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A YAML file, or a name of `textkd ls recipes`.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[a.b=c ...]", help="Overrides of the recipe, as training.seed=1 or matches.0.weight=0.5."),
]


def add_to(app: typer.Typer) -> None:
    """Puts the commands into `app`."""
    for command in (run, check, plan, cache):
        app.command()(command)


def run(file: RecipeFile, overrides: Overrides = None) -> None:
    """Run a recipe: teacher, student, control, report.

    The same command resumes a run that was stopped or killed, and reads one that is finished.
    """
    distiller = _read(file, overrides)
    distiller.check()
    if distiller.folder.is_finished:
        say([f"{distiller.name}: this run is finished; its report is made anew from {distiller.folder.path}"])
    else:
        say([*distiller.plan(), *_notes(distiller)])
    result = distiller.run()
    say([*_summary(result.summary), f"report: {result.report}", f"student: {result.student}"])


def check(file: RecipeFile, overrides: Overrides = None) -> None:
    """Say what is wrong with a recipe, its data and its models, or what it would do. Trains and writes nothing."""
    distiller = _read(file, overrides)
    distiller.check()
    say([*distiller.plan(), *_notes(distiller), "the recipe is good"])


def plan(
    file: RecipeFile,
    overrides: Overrides = None,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Try some steps, to say how long each node is likely to take.")
    ] = True,
) -> None:
    """Print the graph of a recipe: its nodes in order, what makes each, what is done, what it will take.

    Trains and writes nothing.
    """
    made = _read(file, overrides)
    made.check()
    from textkd.experiment import describe  # only now: torch comes with it

    rows = describe.table(made.setup, made.runner, timed)
    show([{name: value for name, value in row.items() if name != "folder"} for row in rows])
    say([f"{row['node']}: {row['folder']}" for row in rows])
    if timed:
        say(["likely: the steps alone, as long as some just took here; evaluations and checkpoints come on top"])


def _read(file: Path, overrides: Sequence[str] | None) -> Any:
    """The recipe as a `Distiller`."""
    from textkd.config import build

    with for_good():
        return build.from_recipe(file, overrides or [])


def _notes(distiller: Any) -> list[str]:
    """What to know of data and models before a training."""
    from textkd.experiment import describe  # only now: torch comes with it

    return [f"note: {note}" for note in describe.notes(distiller.setup)]


def cache(file: RecipeFile, overrides: Overrides = None) -> None:
    """Fill the teacher's cache of a recipe over its training rows, without training a student.

    The same command goes on where it was stopped or killed; several may run at once.
    """
    from textkd.config import build

    given = list(overrides or [])
    recipe = build.read(file, given)[0]
    blocks = {"teacher": recipe.teacher, **{f"teachers.{name}": one for name, one in (recipe.teachers or {}).items()}}
    if not any(block is not None and block.cache for block in blocks.values()):
        unread = _unread(file, given) if len(recipe.teachers or {}) > 1 else []
        say([f"{where}: no match reads it, so nothing of it is kept" for where in unread])
        given += [f"{where}.cache=true" for where, one in blocks.items() if one is not None and where not in unread]
    say([_cached(one) for one in _read(file, given).fill_cache()])


def _unread(file: Path, given: Sequence[str]) -> list[str]:
    """The places of teachers that no match reads; none where it reads none of them, which the check tells."""
    made = _read(file, given)
    from textkd.experiment import unread  # only now: torch comes with it

    found = unread.places(made.experiment)
    return found if len(found) < len(made.setup.teachers) else []


def _cached(told: dict[str, Any]) -> str:
    ratio = told["dense_bytes_per_row"] / told["bytes_per_row"]
    return (f"teacher cache: {told['folder']}, {told['rows']:,} rows ({told['computed']:,} computed now), "
            f"{told['bytes_per_row']:,.0f} bytes a row; dense float32: {told['dense_bytes_per_row']:,.0f}, "
            f"{ratio:.1f} times as many; {told['seconds']:.1f} s")  # fmt: skip


def _summary(summary: dict[str, Any]) -> list[str]:
    """A line for each model of the report."""
    from textkd.report import short

    metric, lines = summary["main_metric"], []
    width = max(map(len, summary["models"]))
    for name, one in summary["models"].items():
        spread = "" if one["spread"][metric] is None else f" ± {one['spread'][metric]:.4f}"
        size = "unknown" if one["parameters"] is None else short(one["parameters"])
        cost = f"{size} parameters, {one['latency_ms']:.1f} ms"
        quality = f"{metric} {one['metrics'][metric]:.4f}{spread}"
        lines.append(f"{name:{width}} {quality}   {cost}, {one['samples_per_s']:.0f} samples/s")
    return lines
