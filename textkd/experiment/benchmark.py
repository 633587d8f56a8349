"""How fast the models of a run are, on rows of its evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from textkd import report
from textkd.tasks import Task

ROUNDS, ROUNDS_OF_TEXTS, WARMUP = 30, 10, 3


def speed(
    task: Task,
    models: Mapping[str, nn.Module],
    data: Any,
    readers: Mapping[str, Callable[..., Any]] | None = None,
    own: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[report.Speeds, dict[str, Any]]:
    """(speeds by model, how they were measured): one row of median length, and many around it.

    Of one forward pass; of whole texts, with the settings that the metrics were made with, where the output is written.
    readers: black boxes that take the rows raw, by name; timed in the same turns, on prepared rows where they can.
    own: the data as models with a vocabulary of their own read it, by name: they are timed on the same texts.
    """
    output = task.output
    chosen, some = _chosen(data, output.timed_rows)
    batches = {kind: _batch(data, numbers, own) for kind, numbers in chosen.items()}
    settings = output.generation(list(models.values()), data.eval)
    if settings is None:
        speeds = report.measure_speed(models, batches, repeats=ROUNDS, warmup=WARMUP)
        length = int(batches["throughput"]["input_ids"].shape[-1])
        return speeds, {**_said(models, speeds, some), "sequence_length": length}
    others = {
        name: {kind: _reading(reader, task.raw([data.eval[i] for i in numbers])) for kind, numbers in chosen.items()}
        for name, reader in (readers or {}).items()
    }
    speeds = report.measure_generation(models, batches, settings, repeats=ROUNDS_OF_TEXTS, others=others)
    return speeds, {**_said(models, speeds, some), "sequence_length": None, "generation": settings}


def _reading(reader: Any, rows: list[Any]) -> Callable[[], Any]:
    """A call that reads the rows, what comes before the model done already (as it is for the others)."""
    return reader.prepared(rows) if hasattr(reader, "prepared") else partial(reader, rows)


def _batch(data: Any, numbers: list[int], own: Mapping[str, Any]) -> dict[str, Any]:
    """These rows, with columns for models of another vocabulary."""
    batch = dict(data.collator([data.eval[i] for i in numbers]))
    for name, one in own.items():
        batch |= {f"{name}/{key}": value for key, value in one.collator([one.eval[i] for i in numbers]).items()}
    return batch


def _chosen(data: Any, many: int) -> tuple[dict[str, list[int]], int]:
    """The numbers of the rows to time by kind of batch, and how many there are in the large one."""
    order = np.argsort(data.eval["length"], kind="stable")
    middle, some = len(order) // 2, min(many, len(order))
    start = max(0, min(middle - some // 2, len(order) - some))
    return {
        "latency": [int(order[middle])],
        "throughput": [int(i) for i in order[start : start + some]],
    }, some


def _said(models: Mapping[str, nn.Module], speeds: report.Speeds, some: int) -> dict[str, Any]:
    device = next(next(iter(models.values())).parameters()).device
    return {
        "device": str(device), "threads": torch.get_num_threads(), "dtype": "float32",
        "batch": {"latency": 1, "throughput": some}, "repeats": speeds.repeats,
    }  # fmt: skip
