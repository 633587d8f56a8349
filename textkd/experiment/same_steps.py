"""A control that makes as many steps as its student, from another number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from textkd.training.stages import Stage


def same_steps(stages: Sequence[Stage], record: Mapping[str, Any], training: Mapping[str, Any]) -> list[Stage]:
    """`stages` with the optimizer steps that another training of them made by its `record`, from whatever number of
    rows; what falls on the ends of its epochs (evaluating, saving) falls on the same steps here."""
    made, before = list[Stage](), 0
    for number, (stage, steps) in enumerate(zip(stages, record["stage_steps"], strict=True), 1):
        logged = [row for row in record["history"] if row["stage"] == number and row.get("epoch")]
        each = round((logged[-1]["step"] - before) / logged[-1]["epoch"]) if logged else steps
        arguments = {**stage.training, "max_steps": steps}
        for kind in ("eval", "save", "logging"):
            default = "steps" if kind == "logging" else "epoch"
            if {**training, **stage.training}.get(f"{kind}_strategy", default) == "epoch":
                arguments |= {f"{kind}_strategy": "steps", f"{kind}_steps": max(1, each)}
        made.append(replace(stage, training=arguments))
        before += steps
    return made
