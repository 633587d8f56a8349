"""Real examples for the report: where teacher and student differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from textkd import report
from textkd.tasks import Task


def examples(
    task: Task,
    data: Any,
    models: Mapping[str, nn.Module],
    between: tuple[str, str],
    known: Mapping[str, Sequence[Any]] | None = None,
    own: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """What the first seed's models say about the evaluation set, as fields of `report.Results`.

    Args:
        between: the two models whose differences are shown.
        known: what others said.
        own: the data as models with a vocabulary of their own read it, by name.
    """
    output = task.output
    seen = {name: own.get(name, data) for name in models}
    said = {name: output.predict(model, seen[name].eval, seen[name].collator) for name, model in models.items()}
    said |= dict(known or {})
    found = output.examples(task.load("eval"), data.eval, said, between)
    drawn = {} if found.pictures is None else {"gallery": report.gallery(*found.pictures, student=between[1])}
    return {"disagreements": found.disagreements, **drawn}
