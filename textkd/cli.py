"""The `textkd` command: run, check, ls, eval, report, export."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

# transformers' own advice and bars would drown what this run has to say
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import typer
from rich.console import Console
from rich.table import Table

from textkd.errors import TextkdError, fail

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(stderr=True, soft_wrap=True)
out = Console(soft_wrap=True)


class _Lines(logging.Handler):
    """textkd's own log lines, plainly, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else None
        console.print(record.getMessage(), style=style, markup=False, highlight=False)


Overrides = Annotated[list[str] | None, typer.Argument(metavar="[a.b=c ...]", help="dotted overrides of the recipe")]


@app.command()
def run(file: Path, overrides: Overrides = None) -> None:
    """Runs a recipe: teacher, student, control, report. The same command resumes a killed run."""
    from textkd import recipe

    distiller = recipe.distiller(file, overrides or [])
    _say(distiller.plan())
    result = distiller.run()
    _say(_summary(result.summary))
    _say([f"report: {result.report}", f"student: {result.student}"])


@app.command()
def check(file: Path, overrides: Overrides = None) -> None:
    """Says what is wrong with a recipe, its data and its models, or what it would do. Trains and writes nothing."""
    from textkd import recipe

    distiller = recipe.distiller(file, overrides or [])
    distiller.check()
    _say([*distiller.plan(), "the recipe is good"])


@app.command("ls")
def ls(what: str, model: Annotated[str | None, typer.Argument(help="for taps: a folder or hub id")] = None) -> None:
    """Lists losses, recipes, or the taps of MODEL: `textkd ls taps MODEL`."""
    lists = {"losses": _losses, "recipes": _recipes, "taps": _taps}
    if what not in lists:
        raise fail(f"ls {what}", "no such list", near=(what, lists), fix=f"textkd ls {'|'.join(lists)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = lists[what](model)
    for title in rows[0]:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row.values()))
    out.print(table)


def _losses(_: str | None) -> list[dict[str, str]]:
    from textkd import losses

    return losses.rows()


def _recipes(_: str | None) -> list[dict[str, str]]:
    import yaml

    folders = dict.fromkeys([Path("recipes").resolve(), Path(__file__).resolve().parent.parent / "recipes"])
    files = [file for folder in folders for file in sorted(folder.rglob("*.yaml"))]
    if not files:
        raise fail("ls recipes", "no recipes/ folder here or beside the package", fix="run it in a checkout of textkd")
    return [{"recipe": os.path.relpath(f), "about": (yaml.safe_load(f.read_text()) or {}).get("about", "")} for f in files]


def _taps(model: str | None) -> list[dict[str, str]]:
    from transformers import AutoConfig, AutoModel

    from textkd import pretrained, taps

    if model is None:
        raise fail("ls taps", "no model", fix="textkd ls taps MODEL_FOLDER_OR_HUB_ID")
    loaded = pretrained.load_model(model, _auto_class(AutoConfig, AutoModel, pretrained.resolve_path(model)))
    return [{"tap": row.address, "shape": row.shape, "note": row.note} for row in taps.list_taps(loaded)]


def _auto_class(auto_config: Any, auto_model: Any, path: str) -> Any:
    """The class that the folder was saved from, so that its head is there; AutoModel if it names none."""
    import transformers

    try:
        names = auto_config.from_pretrained(path).architectures or []
    except (OSError, ValueError):
        return auto_model  # load_model says what is wrong
    return getattr(transformers, names[0], auto_model) if names else auto_model


@app.command("eval")
def evaluate(
    model_dir: str,
    task: Annotated[str, typer.Option(help="as glue/sst2")],
    file: Annotated[Path, typer.Option(help="a labelled file with the columns of the task's TSVs")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line")] = False,
    max_length: int = 128,
) -> None:
    """Metrics of a model folder on one labelled file."""
    from textkd import evaluation

    metrics = evaluation.evaluate(model_dir, task, file, max_length)
    if as_json:
        print(json.dumps(metrics))
        return
    for name, value in metrics.items():
        out.print(f"{name}: {value:.4f}")


@app.command()
def report(run_dir: Path) -> None:
    """Writes report.json and report.html of a finished run anew."""
    from textkd import report as room

    _say([f"report: {room.build(run_dir)}"])


@app.command()
def export(run_dir: Path, out_dir: Path, overwrite: bool = False) -> None:
    """Writes the student as a plain Hugging Face folder that loads without textkd."""
    from textkd.export import export as write

    _say([f"exported: {write(run_dir, out_dir, overwrite=overwrite)}"])


def _say(lines: list[str]) -> None:
    from accelerate import PartialState

    if PartialState().is_main_process:
        for line in lines:
            console.print(line, markup=False, highlight=False)


def _summary(summary: dict[str, Any]) -> list[str]:
    metric = summary["main_metric"]
    lines = []
    for role in ("teacher", "student", "control"):
        if role in summary:
            one = summary[role]
            spread = f" ± {one['spread'][metric]:.4f}" if len(summary["seeds"]) > 1 else ""
            lines.append(f"{role:8} {metric} {one['metrics'][metric]:.4f}{spread}   {one['parameters'] / 1e6:.1f}M parameters, "
                         f"{one['latency_ms']:.1f} ms, {one['samples_per_s']:.0f} samples/s")  # fmt: skip
    return lines


def main() -> None:
    """Entry point: exit code 2 with one message for bad input, 130 after Ctrl-C, 1 for a defect of ours."""
    log = logging.getLogger("textkd")
    log.handlers, log.propagate = [_Lines()], False
    log.setLevel(logging.INFO)
    code: Any = 1
    try:
        code = app(standalone_mode=False)
    except TextkdError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        code = error.exit_code
    except typer.TyperException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        console.print("stopped; the same command goes on from the last checkpoint")
    sys.exit(code or 0)
