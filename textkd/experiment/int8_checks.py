"""Whether the teachers that shall compute in int8 can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textkd.experiment.collect_results import Bound
from textkd.experiment.look import Look
from textkd.models.onnx.graph import exporters
from textkd.models.taps import Address
from textkd.teachers import int8
from textkd.teachers.live import INT8


def check(look: Look, bound: Sequence[Bound]) -> None:
    """Looks at the models, at what is read of them, and at the packages.

    Args:
        look: where what is wrong is put.
        bound: the pairs of every stage.
    """
    asked = {name: spec for name, spec in look.experiment.models.items() if spec.live.runtime == INT8}
    for name, spec in asked.items():
        with look.found.collecting(f"{spec.where}.{int8.WHERE}"):
            exporters()
        if name in look.loaded:
            keys = {key for one in bound for pair in one.pairs for side in pair.read for key in side}
            own = sorted(key.partition("/")[2] for key in keys if key.startswith(f"{name}/"))
            wrong = int8.problems(look.loaded[name], [Address.parse(address) for address in own])
            look.found.add(*(replace(one, where=f"{spec.where}.{one.where}") for one in wrong))
