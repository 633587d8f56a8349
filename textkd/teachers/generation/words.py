"""What a run says of texts that a teacher writes: in its plan, and on the models of its report."""

from __future__ import annotations

from typing import Any

from textkd.errors import Problem, problem
from textkd.models.processes import processes
from textkd.teachers.generation.pseudo_labels import Targets

NEW_STUDENT = (
    "the student starts from random weights: a black box has no blocks to copy, so all that it knows of images and "
    "texts comes from the lines of this run"
)


def plan(targets: Targets, who: str) -> str:
    """What will be read, and by whom."""
    table = targets.table
    return f"pseudo labels: {who} reads {len(table)} lines of {table.source}, kept in {targets.keep}"


def student(targets: Targets) -> str:
    """What a student of these targets learns from."""
    if targets.pseudo.lines is None:
        return "trained on texts that the teacher read in the train lines"
    own = f"the {len(targets.own):,} transcribed train lines and on " if targets.own else ""
    return f"trained on {own}texts that the teacher read in {targets.source}"


def control(targets: Targets) -> str:
    """What the same student learns from without these targets."""
    count = f"{len(targets.own):,} transcribed train lines"
    return f"the same student and start, without a teacher: on the {count} alone, for as many optimizer steps"


def name(model: Any) -> str:
    """What a black box is called."""
    file = getattr(getattr(model, "path", None), "name", "")
    return f"{type(model).__name__} {file}".strip()


def black_box(model: Any, change: str | None) -> str:
    """What a black box is. change: of the case of what it reads."""
    timed = "" if hasattr(model, "prepared") else "; its times hold the preparation of images"
    where = "" if processes().device.type == "cpu" else ", on the CPU"
    cased = f", its texts in {change} case" if change else ""
    return f"a black box that only reads ({name(model)}{where}){timed}{cased}"


def missing() -> Problem:
    """What is wrong with a black box whose texts nobody asks for."""
    what, fix = "the teacher is a black box that only reads", "add pseudo: {}, with lines: if you like"
    return problem("pseudo labels", what, fix=fix, where="pseudo")
