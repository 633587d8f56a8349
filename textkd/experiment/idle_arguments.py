"""Arguments of trainings that change nothing in any of the trainings that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from textkd.errors import Problem
from textkd.experiment.look import Look
from textkd.experiment.plan import Training
from textkd.training.unread_arguments import unread_problems

CONTROL = "control"


@dataclass
class _Block:
    """What the recipe says at one place, and all arguments of each training that it is for."""

    values: Mapping[str, Any]
    wholes: list[dict[str, Any]] = field(default_factory=list)


def problems(look: Look) -> list[Problem]:
    """Arguments that nothing reads, at their places; what is told already is not looked at again.

    Args:
        look: the experiment, after its blocks were looked at one by one.
    """
    blocks = dict[str, _Block]()
    for training in look.experiment.trainings:
        for where, values, whole in _blocks(training):
            blocks.setdefault(where, _Block(values)).wholes.append(whole)
    own = [blocks[one.own.where].values for one in look.experiment.trainings if one.own.where in blocks]
    found = list[Problem]()
    for where, block in blocks.items():
        values = {name: value for name, value in block.values.items() if not look.bad(f"{where}.{name}")}
        if where == CONTROL:  # what it has of the last link of a chain is told there
            others = [one for one in own if one is not block.values]
            values = {name: one for name, one in values.items() if not any(other.get(name) is one for other in others)}
        found += [replace(one, where=f"{where}.{one.where}") for one in unread_problems(values, block.wholes)]
    return found


def _blocks(training: Training) -> list[tuple[str, Mapping[str, Any], dict[str, Any]]]:
    """Place, values and the arguments of the training, of each block of each of its stages."""
    found = list[tuple[str, Mapping[str, Any], dict[str, Any]]]()
    for number, stage in enumerate(training.stages):
        whole = training.arguments(stage)
        place = f"{training.place(number)}.training".lstrip(".")
        told = [(training.base.where, training.base.values), (place, stage.training),
                (training.own.where, training.own.values)]  # fmt: skip
        found += [(where, values, whole) for where, values in told if values]
    return found
