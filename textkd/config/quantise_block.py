"""The block `quantise` of a recipe: a student that learns on the int8 grid on which it is shipped."""

from __future__ import annotations

from dataclasses import replace

from textkd.config.schema import QuantiseBlock
from textkd.errors import Problem, problem
from textkd.experiment.plan import Experiment, Training
from textkd.models.transforms.quantised import BITS

TOGETHER, FIXED, FINE_TUNED = SCHEMES = ("a", "b", "c")


def quantised_of(block: QuantiseBlock | None, experiment: Experiment) -> tuple[Experiment, list[Problem]]:
    """The experiment with its student, and the control of it, on the grid; and what is wrong with the block.

    Args:
        block: None: nobody asks for it.
        experiment: the last link of its chain, the first student of its cohort or its one student is the one.
    """
    if block is None:
        return experiment, []
    taught = experiment.trainer_of(experiment.report.student)
    assert taught is not None  # a student is trained
    is_cohort = len(taught.trains) > 1
    scheme = block.scheme or (TOGETHER if is_cohort else FIXED)
    if wrong := [*_bits(block), *_scheme(scheme, is_cohort, len(taught.stages))]:
        return experiment, wrong
    named = {experiment.report.student, experiment.report.control}
    made = (_on_grid(one, [name for name in one.trains if name in named], scheme) for one in experiment.trainings)
    return replace(experiment, trainings=tuple(made)), []


def _on_grid(training: Training, names: list[str], scheme: str) -> Training:
    first = len(training.stages) - 1 if scheme == FINE_TUNED else 0
    stages = (replace(one, quantised=tuple(names) if i >= first else ()) for i, one in enumerate(training.stages))
    return replace(training, stages=tuple(stages))


def _bits(block: QuantiseBlock) -> list[Problem]:
    what, found = "onnxruntime computes with 8 bits on what textkd exports", list[Problem]()
    for key in ("weights", "activations"):
        if (bits := getattr(block, key)) != BITS:
            found.append(problem(f"quantise.{key}: {bits}", what, fix=str(BITS), where=f"quantise.{key}"))
    return found


def _scheme(scheme: str, is_cohort: bool, stages: int) -> list[Problem]:
    """What is wrong with a scheme beside the shape of the graph."""
    what = fix = ""
    near = None
    if scheme not in SCHEMES:
        what, fix, near = "no such scheme", f"one of {', '.join(SCHEMES)}", (scheme, SCHEMES)
    elif scheme == TOGETHER and not is_cohort:
        what = "in it the student learns together with its teacher, and this teacher is fixed"
        fix = "scheme: b, or a cohort of both: cohort: {students: {student: {...}, partner: {...}}}"
    elif scheme != TOGETHER and is_cohort:
        what, fix = "students of a cohort learn together from their start", f"scheme: {TOGETHER}"
    elif scheme == FINE_TUNED and stages < 2:
        what = "in it the student learns in float first, and there is one stage alone"
        fix = "two stages, of which the last is on the grid, or scheme: b"
    return [problem(f"scheme: {scheme}", what, near=near, fix=fix, where="quantise.scheme")] if what else []
