"""Distils Hugging Face models: a recipe says which teacher, which student, on which data; `textkd run` does it and
writes an honest report.

Exit codes: 0 done, 2 something in the input is wrong (one message says all of it, nothing is written), 130 stopped
with Ctrl-C (the same command goes on), 1 a defect of textkd.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

# transformers' own advice and bars would drown what this run has to say
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from textkd.errors import TextkdError, fail, scrub

# torch and transformers are imported inside the commands: `textkd --help` need not wait for them
LISTS = ("losses", "taps", "recipes", "presets")
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


class _Lines(logging.Handler):
    """textkd's own log lines, plainly, on stderr; of several processes, the first one's. Each is said once: stages,
    seeds and the check before them build the same things again."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = scrub(record.getMessage())
        if os.environ.get("RANK", "0") == "0" and text not in self.said:
            self.said.add(text)
            _tell(text, style="yellow" if record.levelno >= logging.WARNING else None)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"textkd {version('textkd')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", help="Print textkd's version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


RecipeFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A YAML file, or a name of `textkd ls recipes`.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[a.b=c ...]", help="Overrides of the recipe, as training.seed=1 or matches.0.weight=0.5."),
]
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.", show_default=False)]


@app.command()
def run(file: RecipeFile, overrides: Overrides = None) -> None:
    """Run a recipe: teacher, student, control, report.

    The same command resumes a run that was stopped or killed, and reads one that is finished.
    """
    from textkd.config import build

    distiller = build.from_recipe(file, overrides or [])
    distiller.check()
    if distiller.folder.is_finished:
        _say([f"{distiller.name}: this run is finished; its report is made anew from {distiller.folder.path}"])
    else:
        _say([*distiller.plan(), *_notes(distiller)])
    result = distiller.run()
    _say([*_summary(result.summary), f"report: {result.report}", f"student: {result.student}"])


@app.command()
def check(file: RecipeFile, overrides: Overrides = None) -> None:
    """Say what is wrong with a recipe, its data and its models, or what it would do. Trains and writes nothing."""
    from textkd.config import build

    distiller = build.from_recipe(file, overrides or [])
    distiller.check()
    _say([*distiller.plan(), *_notes(distiller), "the recipe is good"])


def _notes(distiller: Any) -> list[str]:
    """What to know of the data before a training."""
    return [] if distiller.task is None else [f"note: {note}" for note in distiller.task.warnings()]


@app.command()
def cache(file: RecipeFile, overrides: Overrides = None) -> None:
    """Fill the teacher's cache of a recipe over its training rows, without training a student.

    The same command goes on where it was stopped or killed; several may run at once.
    """
    from textkd.config import build

    given = list(overrides or [])
    if not build.read(file, given)[0].teacher.cache:
        given.append("teacher.cache=true")
    told = [_cached(one) for one in build.from_recipe(file, given).fill_cache()]
    _say(told or ["no match reads the teacher: nothing to keep"])


def _cached(told: dict[str, Any]) -> str:
    ratio = told["dense_bytes_per_row"] / told["bytes_per_row"]
    return (f"teacher cache: {told['folder']}, {told['rows']:,} rows ({told['computed']:,} computed now), "
            f"{told['bytes_per_row']:,.0f} bytes a row; dense float32: {told['dense_bytes_per_row']:,.0f}, "
            f"{ratio:.1f} times as many; {told['seconds']:.1f} s")  # fmt: skip


@app.command("ls")
def ls(
    what: Annotated[
        str, typer.Argument(metavar="losses|taps|recipes|presets", help="What to list.", show_default=False)
    ],
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="For taps: a folder, hub id or package:NAME/FOLDER. For presets: the one to print."
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="For losses: the page docs/losses.md.")] = False,
) -> None:
    """List the losses, the recipes, the presets (or print one), or the taps of a model with their shapes."""
    from textkd.cli import listings

    text = listings.text(what, model, markdown)
    if text is not None:
        print(text, end="")
        return
    rows = listings.rows(what, model)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, title in enumerate(rows[0]):
        table.add_column(title, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row.values()))
    _out(table)


@app.command("eval")
def evaluate(
    model_dir: Annotated[str, typer.Argument(metavar="MODEL_DIR", help="A model folder.", show_default=False)],
    task: Annotated[
        str, typer.Option(help='As glue/sst2, "text" with the labels of the model, or "ocr".', show_default=False)
    ],
    file: Annotated[
        Path,
        typer.Option(
            help="A labelled file: the columns of the task's TSVs, or text_a, text_b, label.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line with the metrics on stdout.")] = False,
    max_length: Annotated[int | None, typer.Option(help="Tokens per row; 128, or the model's positions.")] = None,
    text: Annotated[
        str | None, typer.Option(help="For --task text and --task ocr: the column of texts or transcriptions (text).")
    ] = None,
    text_pair: Annotated[str | None, typer.Option(help="For --task text: the column of second texts.")] = None,
    label: Annotated[str | None, typer.Option(help="For --task text: the column of labels (label).")] = None,
    image: Annotated[str | None, typer.Option(help="For --task ocr: the column of images (image, file_name).")] = None,
    num_beams: Annotated[int | None, typer.Option(help="For --task ocr: beams; 1 (greedy) by default.")] = None,
) -> None:
    """Print the metrics of a model folder on one labelled file."""
    from textkd.experiment import evaluate

    columns = {"text": text, "text_pair": text_pair, "label": label, "image": image}
    metrics = evaluate.evaluate(model_dir, task, file, max_length, **columns, num_beams=num_beams)
    if as_json:
        print(json.dumps(metrics))
        return
    for name, value in metrics.items():
        print(f"{name}: {value:.4f}")


@app.command()
def report(run_dir: RunDir) -> None:
    """Write report.json and report.html of a finished run anew."""
    from textkd import report as room

    _say([f"report: {room.build(run_dir)}"])


@app.command()
def export(
    run_dir: RunDir,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what OUT holds.")] = False,
) -> None:
    """Write the student of a run as a plain Hugging Face folder that loads without textkd."""
    from textkd.deploy.export import export as write

    _say([f"exported: {write(run_dir, out, overwrite=overwrite)}"])


def _tell(text: str, style: str | None = None) -> None:
    Console(stderr=True, soft_wrap=True).print(text, style=style, markup=False, highlight=False)


def _out(table: Table) -> None:
    # a pipe has no width: a row stays one line
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def _say(lines: list[str]) -> None:
    from textkd.models.processes import processes

    if processes().is_main_process:
        for line in lines:
            _tell(line)


def _summary(summary: dict[str, Any]) -> list[str]:
    metric = summary["main_metric"]
    lines = []
    for role in ("teacher", "student", "control"):
        if role in summary:
            one = summary[role]
            spread = "" if one["spread"][metric] is None else f" ± {one['spread'][metric]:.4f}"
            size = "unknown" if one["parameters"] is None else f"{one['parameters'] / 1e6:.1f}M"
            cost = f"{size} parameters, {one['latency_ms']:.1f} ms"
            quality = f"{metric} {one['metrics'][metric]:.4f}{spread}"
            lines.append(f"{role:8} {quality}   {cost}, {one['samples_per_s']:.0f} samples/s")
    return lines


def _usage(error: Any) -> TextkdError:
    """What typer says about a command line, in the words of all our errors."""
    ctx = getattr(error, "ctx", None)
    asked = " ".join(["textkd", *sys.argv[1:]])
    commands = {} if ctx is None else getattr(ctx.command, "commands", {})
    typed = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    near = (typed, commands) if commands and typed and typed not in commands else None
    known = f"one of {', '.join(commands)}; " if near else ""
    path = "textkd" if ctx is None or ctx.parent is None else f"textkd {ctx.info_name}"
    said = " ".join(error.format_message().split()).rstrip(".")
    return fail(asked, f"{said[:1].lower()}{said[1:]}", near=near, fix=f"{known}{path} --help")


def _run_command() -> int:
    try:
        return int(app(standalone_mode=False) or 0)
    except TextkdError as error:
        _tell(str(error), style="red")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # `textkd ls losses | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0
    except (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        fix = "choose a place that can be written, or mend its permissions"
        _tell(str(fail(f"{error.filename}", f"{error.strerror}", fix=fix)), style="red")
        return 2
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
        else:
            _tell(str(_usage(error)), style="red")
        return 2


def main() -> None:
    """Entry point: exit code 2 with one message for bad input, 130 after Ctrl-C, 1 for a defect of ours."""
    log = logging.getLogger("textkd")
    log.handlers, log.propagate = [_Lines()], False
    log.setLevel(logging.INFO)
    code = _run_command()
    if code == 130:
        goes_on = any(word in ("run", "cache") for word in sys.argv[1:2])
        _tell("stopped; the same command goes on from there" if goes_on else "stopped")
    sys.exit(code)
