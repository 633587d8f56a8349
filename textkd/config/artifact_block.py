"""The block `artifacts` of a recipe: what is shipped beside plain folders."""

from __future__ import annotations

from collections.abc import Sequence

from textkd.config.schema import ArtifactBlock
from textkd.deploy.artifact import Artifact
from textkd.errors import Problem, problem
from textkd.experiment.artifacts import problems
from textkd.experiment.plan import Experiment
from textkd.models.onnx.int8 import MODES

FORMATS = ("onnx",)


def artifacts_of(blocks: Sequence[ArtifactBlock], experiment: Experiment) -> tuple[tuple[Artifact, ...], list[Problem]]:
    """The artifacts that a recipe asks for, and what is wrong with them.

    Args:
        blocks: in their order.
        experiment: whose models they are made of.
    """
    made = tuple(_artifact(block, experiment.report.student) for block in blocks)
    wrong = [p for number, block in enumerate(blocks) for p in _problems(block, f"artifacts[{number}]")]
    trained = [name for training in experiment.trainings if training.kept is None for name in training.trains]
    writes = any(task.output.writes for task in experiment.tasks.values())
    return made, [*wrong, *problems(made, list(experiment.models), trained, writes)]


def _artifact(block: ArtifactBlock, student: str) -> Artifact:
    of = block.of or student
    name = block.name or "-".join(filter(None, (of, block.format, block.int8 and f"int8-{block.int8}")))
    return Artifact(name, of, block.format, block.int8, 256 if block.rows is None else block.rows, block.keep)


def _problems(block: ArtifactBlock, where: str) -> list[Problem]:
    found = list[Problem]()

    def add(key: str, asked: object, what: str, fix: str, names: Sequence[str] = ()) -> None:
        near = (str(asked), names) if names else None
        found.append(problem(f"{key}: {asked}", what, near=near, fix=fix, where=f"{where}.{key}"))

    if block.format not in FORMATS:
        add("format", block.format, "no such format", f"one of {', '.join(FORMATS)}", FORMATS)
    if block.int8 and block.int8 not in MODES:
        add("int8", block.int8, "no such kind of int8", f"one of {', '.join(MODES)}", MODES)
    if block.rows is not None and block.int8 != "static":
        add("rows", block.rows, "training rows are read for int8: static alone", "leave rows out")
    elif block.rows is not None and not 1 <= block.rows <= 10_000:
        add("rows", block.rows, "not a number of rows", "1 to 10000; 256 are enough for ranges")
    if block.keep is not None and not 0 < block.keep <= 1:
        add("keep", block.keep, "not a share of the model's main metric", "above 0, at most 1, as 0.99")
    if block.name and not _names_a_folder(block.name):
        add("name", block.name, "it names a folder, too", "letters, digits, - and _")
    return found


def _names_a_folder(name: str) -> bool:
    """Whether a name can be that of a folder everywhere, and be read in a report."""
    whole = name.isprintable() and name == name.strip() and not set("/\\") & set(name)
    return whole and name not in (".", "..") and len(name) <= 80
