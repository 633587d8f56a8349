"""Whether the models that shall learn on the int8 grid can."""

from __future__ import annotations

from textkd.errors import Problem, problem
from textkd.experiment.look import Look
from textkd.experiment.plan import Training
from textkd.models.transforms import quantised
from textkd.training import on_grid
from textkd.training.stages import Stage

WHERE = "quantise"  # of a recipe; in Python it is `Stage.quantised`


def check(look: Look) -> None:
    """Looks at the models and arguments of all stages that are on the grid; the control is as its student is."""
    asked = [(one, stage) for one in look.experiment.trainings for stage in one.stages if stage.quantised]
    wrong = dict[str, Problem]()
    for training, stage in asked:
        if look.experiment.report.control in training.trains:
            continue
        unfit = name_problems(training, stage)
        if not unfit:
            unfit += [p for model in look.of(stage.quantised).values() for p in quantised.problems(model)]
        for one in [*unfit, *on_grid.problems(training.arguments(stage), stage.matches)]:
            wrong.setdefault(one.asked, one)
    with look.found.collecting(WHERE):
        look.found.add(*wrong.values())


def name_problems(training: Training, stage: Stage) -> list[Problem]:
    """What is wrong with the names that Python gives a stage.

    Args:
        training: whose models learn.
        stage: one of its stages.
    """
    fix = f"quantised={list(training.trains)[:1]}"
    if isinstance(stage.quantised, str):
        return [problem(f"quantised={stage.quantised!r}", "no list of names", fix=fix)]
    what = f"no model of this name learns in {training.name}"
    return [problem(f"quantised: {name}", what, near=(str(name), training.trains), fix=fix)
            for name in stage.quantised if name not in training.trains]  # fmt: skip
