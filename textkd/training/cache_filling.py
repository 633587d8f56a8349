"""Filling a teacher's cache before a training, or without one: what it takes is told first, and a bar runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from textkd.models.forward import own_columns
from textkd.models.processes import processes
from textkd.objective import projections
from textkd.teachers import LiveOptions
from textkd.teachers.cache import (
    CachedTeacher,
    Size,
    build,
    estimate,
    refuse_augmented,
    refuse_too_large,
    shown,
)
from textkd.teachers.frozen import FrozenModel, FrozenModels
from textkd.teachers.live import INT8
from textkd.training.arguments import has_bf16, make_arguments
from textkd.training.callbacks import console
from textkd.training.environment import kept_environment
from textkd.training.wiring import Reading, wire

log = logging.getLogger("textkd")


def fill(teacher: CachedTeacher, data: Any, batch_size: int, title: str) -> dict[str, Any]:
    """Computes and writes what the cache lacks of `data.train`; several processes share the work.

    Returns folder, rows, bytes_per_row, dense_bytes_per_row (the same as dense float32), computed (rows, by this
    process), seconds. Raises `TextkdError` before anything is written if it does not fit, or the rows are augmented.
    """
    refuse_augmented(data.train)
    state, started = processes(), time.monotonic()
    if state.is_main_process:
        size = estimate(teacher, data.train, data.collator)
        log.info("%s: teacher cache of %s in %s", title, size, teacher.store.folder)
        refuse_too_large(teacher, size)
        teacher.store.flush()
    state.wait_for_everyone()
    if not state.is_main_process:
        size = estimate(teacher, data.train, data.collator)
    _build(teacher, data, batch_size, size, f"{title}: teacher cache")
    teacher.expected = size.rows
    state.wait_for_everyone()
    told: Mapping[str, Any] = {
        "folder": str(teacher.store.folder), "rows": size.rows, "bytes_per_row": size.bytes,
        "dense_bytes_per_row": size.dense, "computed": teacher.computed, "seconds": time.monotonic() - started,
    }  # fmt: skip
    return dict(told)


def fill_all(frozen: FrozenModels, data: Any, batch_size: int, title: str) -> dict[str, dict[str, Any]]:
    """`fill` for every teacher that has a cache, by name."""
    told = {}
    for name, teacher in frozen.teachers.items():
        if isinstance(teacher, CachedTeacher):
            own = replace(data, collator=lambda rows, name=name: dict(own_columns(data.collator(rows), name)))
            told[name] = fill(teacher, own, batch_size, title)
    return told


@kept_environment()
def fill_stages(
    models: Mapping[str, nn.Module], frozen_models: Mapping[str, FrozenModel], stages: Sequence[Any], data: Any,
    training: Mapping[str, Any], share_encoder: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """`fill` for every one of `stages` and its teachers, as the training of `models` would."""
    told = list[dict[str, Any]]()
    for number, stage in enumerate(stages, 1):
        arguments = make_arguments({**training, **stage.training}, "unused")
        for model in models.values():
            model.to(arguments.device)
        for one in frozen_models.values():
            one.model.to(one.live.place(arguments.device))
        reading = {name: read_as(arguments, one) for name, one in frozen_models.items()}
        read = {name: one.model for name, one in frozen_models.items()}
        wiring = wire(models, read, stage.matches, data.sample(), data.label_loss, share_encoder=share_encoder,
                      rows=len(data.train), reading=reading)  # fmt: skip
        try:
            title = stage.name or f"stage {number}"
            told += fill_all(wiring.frozen, data, arguments.per_device_train_batch_size, title).values()
        finally:
            wiring.close()
            for model in models.values():
                projections.detach(model)
    return told


def note(told: Mapping[str, Any]) -> str:
    """What `fill` did, as a line of a report."""
    took = f"{told['computed']:,} of {told['rows']:,} rows computed in {told['seconds']:.1f} s beside the training time"
    sizes = f"{shown(told['bytes_per_row'])} a row (dense float32: {shown(told['dense_bytes_per_row'])})"
    return f"teacher cache: {took}; {sizes}"


def autocast(arguments: Any, live: LiveOptions) -> torch.dtype | None:
    """The dtype that the teacher computes in beside a training of these arguments, None for the model's own."""
    if live.precision == "float32":
        return None
    if live.precision == "bf16" or (arguments.bf16 and has_bf16()):
        return torch.bfloat16
    return torch.float16 if arguments.fp16 else None


def read_as(arguments: Any, one: FrozenModel, sharded: bool = False) -> Reading:
    """How a model is read beside a training of these arguments."""
    return Reading(autocast(arguments, one.live), one.cache, sharded, one.live.runtime == INT8, one.pieces)


def _build(teacher: CachedTeacher, data: Any, batch_size: int, size: Size, label: str) -> None:
    state = processes()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    visible = console.is_terminal and state.is_main_process
    with Progress(*columns, console=console, disable=not visible) as bar:
        task = bar.add_task(label, total=size.rows)

        def tell(rows: int) -> None:
            bar.update(task, advance=rows)

        build(teacher, data.train, data.collator, batch_size, size, tell, (state.process_index, state.num_processes))
