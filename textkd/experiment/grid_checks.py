"""Whether the models that shall learn on the int8 grid can."""

from __future__ import annotations

from textkd.errors import Problem
from textkd.experiment.look import Look
from textkd.models.transforms import quantised
from textkd.training import on_grid

WHERE = "quantise"  # of a recipe; in Python it is `Stage.quantised`


def check(look: Look) -> None:
    """Looks at the models and arguments of all stages that are on the grid; the control is as its student is."""
    asked = [(one, stage) for one in look.experiment.trainings for stage in one.stages if stage.quantised]
    wrong = dict[str, Problem]()
    for training, stage in asked:
        if look.experiment.report.control in training.trains:
            continue
        models = look.of(name for name in stage.quantised)
        unfit = [p for model in models.values() for p in quantised.problems(model)]
        for one in [*unfit, *on_grid.problems(training.arguments(stage), stage.matches)]:
            wrong.setdefault(one.asked, one)
    with look.found.collecting(WHERE):
        look.found.add(*wrong.values())
