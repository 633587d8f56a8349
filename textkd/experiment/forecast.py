"""What a node will take: its optimizer steps, and how long they are likely to take on this machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from textkd.experiment.plan import Node, Training
from textkd.experiment.setup import Setup
from textkd.models import loading
from textkd.models.processes import processes
from textkd.models.transforms.quantised import quantised
from textkd.objective import projections
from textkd.objective.match_checks import needs_teacher
from textkd.teachers.frozen import FrozenModel
from textkd.training.arguments import make_arguments
from textkd.training.cache_filling import read_as
from textkd.training.environment import kept_environment
from textkd.training.stages import Data, Stage
from textkd.training.wiring import wire

TRIED = 3  # steps that are timed, after one that is not


def steps(data: Data, training: Training) -> list[int]:
    """The optimizer steps of every stage, from the rows that are there before anything ran."""
    return [steps_of(len(data.train), training.arguments(stage)) for stage in training.stages]


@kept_environment()
def steps_of(rows: int, given: Mapping[str, Any]) -> int:
    """The optimizer steps of a training over `rows` with the arguments `given`."""
    arguments = make_arguments({k: v for k, v in given.items() if k != "seed"}, "unused")
    if arguments.max_steps > 0:
        return int(arguments.max_steps)
    size = arguments.per_device_train_batch_size * processes().num_processes
    batches = rows // size if arguments.dataloader_drop_last else math.ceil(rows / size)
    each = max(math.ceil(batches / arguments.gradient_accumulation_steps), 1)
    total: int = math.ceil(each * arguments.num_train_epochs)
    return total


def seconds(setup: Setup, node: Node) -> float:
    """How long the training of a node is likely to take: its steps, as long as some real ones took just now.

    Evaluations, checkpoints and the filling of caches come on top. Nothing is written and no weight changes.
    """
    data, _ = setup.rows.of(node.training) if node.training.targets is None else (setup.rows.data, {})
    with loading.quiet():
        each = [_timed(setup, node.training, stage, data) for stage in node.training.stages]
    return sum(one * count for one, count in zip(each, steps(data, node.training), strict=True))


@kept_environment()
def _timed(setup: Setup, training: Training, stage: Stage, data: Data) -> float:
    """Seconds of one optimizer step."""
    arguments = make_arguments({k: v for k, v in training.arguments(stage).items() if k != "seed"}, "unused")
    size = arguments.per_device_train_batch_size
    rows = [_spread(len(data.train), size, turn) for turn in range(TRIED + 1)]
    batches = [data.collator([data.train[i] for i in some]) for some in rows]
    asked = any(needs_teacher(match) for match in stage.matches)
    specs = {name: setup.experiment.models[name] for name in training.reads if asked}
    read = {name: setup.models.start(name) for name, spec in specs.items() if not spec.is_black_box}
    trained = {name: loading.clone(setup.models.start(name)).to(arguments.device).train() for name in training.trains}
    for model in read.values():
        model.to(arguments.device)
    frozen = {name: FrozenModel(model, None, specs[name].live, setup.rows.pieces(training, name))
              for name, model in read.items()}  # fmt: skip
    reading = {name: read_as(arguments, one) for name, one in frozen.items()}
    wiring = wire(trained, read, stage.matches, batches[0], data.label_loss, rows=len(data.train), reading=reading)
    took = list[float]()
    try:
        with quantised([trained[name] for name in stage.quantised]):
            for batch in batches:
                here = {name: column.to(arguments.device) for name, column in batch.items()}
                with _clock(took), torch.autocast(arguments.device.type, torch.bfloat16, enabled=arguments.bf16):
                    loss = wiring.loss(wiring.learners.module, here).total
                    torch.autograd.backward(loss)
    finally:
        wiring.close()
        for model in trained.values():
            projections.detach(model)
    return statistics.median(took[1:]) * int(arguments.gradient_accumulation_steps)


@contextmanager
def _clock(took: list[float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    took.append(time.perf_counter() - started)


def _spread(rows: int, size: int, turn: int) -> list[int]:
    """The numbers of rows of a batch, from all over the data."""
    stride = max(rows // size, 1)
    return [(i * stride + turn) % rows for i in range(min(size, rows))]
