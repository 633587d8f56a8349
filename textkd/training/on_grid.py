"""Models that learn on the int8 grid of their later export: what they cannot do there, and what is told of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from textkd.errors import Problem, problem
from textkd.models.transforms.quantised import quantised
from textkd.objective.match import Match
from textkd.training import fsdp

log = logging.getLogger("textkd")


@contextmanager
def on_grid(models: Mapping[str, nn.Module], names: Sequence[str]) -> Iterator[list[str]]:
    """Inside, some of the models that learn compute on the grid.

    Args:
        models: those that learn, by name.
        names: of those that learn on the grid.

    Returns:
        What the report tells of it.
    """
    if not names:
        yield []
        return
    told = f"{' and '.join(names)} learned on the int8 grid (quantise), on which evaluations during training were, too"
    log.info("%s: the int8 grid of an ONNX export, in training and its evaluations", " and ".join(names))
    with quantised([models[name] for name in names]):
        yield [f"{told}; the row of a model is its plain folder in float32, that of an int8 artifact is on the grid"]


def problems(arguments: Mapping[str, Any], matches: Sequence[Match]) -> list[Problem]:
    """What a training on the grid cannot be.

    Args:
        arguments: of a stage.
        matches: of the same stage.
    """
    found = []
    asked = "quantise beside"
    if arguments.get("fp16"):
        what, fix = "sums of int8 products are too large for fp16", "bf16: true in place of fp16"
        found.append(problem(f"{asked} fp16: true", what, fix=fix))
    if fsdp.asked(arguments.get("fsdp")):
        fix = "leave fsdp out: processes share the batch (DDP)"
        found.append(problem(f"{asked} fsdp", "the range of a weight is that of all of it, not of a shard", fix=fix))
    if any(match.fused for match in matches):
        what = "a fused loss reads the weights of the head as they are, not on the grid"
        found.append(problem(f"{asked} fused: true", what, fix="fused: false"))
    return found
