"""Commands on what is there: ls, eval, report, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from textkd.cli.for_good import for_good
from textkd.cli.say import say, show

LISTS = ("losses", "taps", "recipes", "presets")
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Puts the commands into `app`."""
    app.command("ls")(ls)
    app.command("eval")(evaluate)
    app.command()(report)
    app.command()(export)


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
    show(listings.rows(what, model))


def evaluate(
    model_dir: Annotated[str, typer.Argument(metavar="MODEL_DIR", help="A model folder.", show_default=False)],
    task: Annotated[
        str,
        typer.Option(help='As glue/sst2; "text" or "tokens" with the labels of the model; "ocr".', show_default=False),
    ],
    file: Annotated[
        Path,
        typer.Option(
            help="A labelled file. glue: the columns of its TSVs, or text_a, text_b, label; text: text and label.",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line with the metrics on stdout.")] = False,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens per row, if not those that its tokenizer says.")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="How the task reads the file, with the keys of its block in a recipe: label=verdict.",
        ),
    ] = None,
) -> None:
    """Print the metrics of a model folder on one labelled file."""
    with for_good():
        from textkd.experiment import evaluate

    metrics = evaluate.evaluate(model_dir, task, file, max_length, options or ())
    if as_json:
        print(json.dumps(metrics))
        return
    for name, value in metrics.items():
        print(f"{name}: {value:.4f}")


def report(run_dir: RunDir) -> None:
    """Write report.json and report.html of a finished run anew."""
    from textkd import report as room

    say([f"report: {room.build(run_dir)}"])


def export(
    run_dir: RunDir,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder.", show_default=False)],
    form: Annotated[
        str, typer.Option("--format", help="hf: a plain Hugging Face folder. onnx: for `textkd.deploy.load`.")
    ] = "hf",
    int8: Annotated[
        str, typer.Option(help="Of onnx: dynamic, or static with --rows. Weights and activations of 8 bits.")
    ] = "",
    rows: Annotated[
        Path | None,
        typer.Option(help="For static: a file of training texts, one a line (a tab between the two of a pair)."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what OUT holds.")] = False,
) -> None:
    """Write the student of a run: as a Hugging Face folder that loads without textkd, or as ONNX.

    A student with other layers (factorise, cheap) loads with textkd.load, or as ONNX. Of a chain it is the last link,
    of a cohort the first peer.
    """
    with for_good():
        from textkd.deploy import shipping

    folder = shipping.ship(run_dir, out, form, int8, rows, overwrite)
    say([f"exported: {folder}", *shipping.told(folder)])
