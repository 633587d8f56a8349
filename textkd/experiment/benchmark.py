"""How fast the models of a run are, on rows of its evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from textkd import report

MANY, MANY_LINES = 32, 16
ROUNDS, ROUNDS_OF_LINES = 30, 10


def speed(task: Any, models: Mapping[str, nn.Module], data: Any) -> tuple[report.Speeds, dict[str, Any]]:
    """Of forward passes: one row of median length, and 32 around it."""
    chosen, some = _chosen(data, MANY)
    batches = {kind: data.collator(rows) for kind, rows in chosen.items()}
    speeds = report.measure_speed(models, batches, repeats=ROUNDS)
    length = int(batches["throughput"]["input_ids"].shape[-1])
    return speeds, {**_said(models, speeds, some), "sequence_length": length}


def writing_speed(
    task: Any, models: Mapping[str, nn.Module], data: Any, readers: Mapping[str, Callable[..., Any]] | None = None
) -> tuple[report.Speeds, dict[str, Any]]:
    """Of writing whole texts, with the settings that the metrics were made with: one line of median length, and 16.
    readers: what takes the images themselves, by name; timed in the same turns, on resized images where it can."""
    chosen, some = _chosen(data, MANY_LINES)
    batches = {kind: data.collator(rows) for kind, rows in chosen.items()}
    images = {kind: [row["image"] for row in rows] for kind, rows in chosen.items()}
    others = {
        name: {kind: _reading(reader, some) for kind, some in images.items()}
        for name, reader in (readers or {}).items()
    }
    each: list[dict[str, Any]] = [task.generation_settings(model, data.eval) for model in models.values()]
    settings = min(each, key=lambda one: int(one["max_new_tokens"]))  # fewer positions, fewer tokens
    speeds = report.measure_generation(models, batches, settings, repeats=ROUNDS_OF_LINES, others=others)
    return speeds, {**_said(models, speeds, some), "sequence_length": None, "generation": settings}


def _reading(reader: Any, images: list[Any]) -> Callable[[], Any]:
    """A call that reads the images, what comes before the model done already (as it is for the others)."""
    return reader.prepared(images) if hasattr(reader, "prepared") else partial(reader, images)


def _chosen(data: Any, many: int) -> tuple[dict[str, list[Any]], int]:
    """The rows to time by kind of batch, and how many there are in the large one."""
    order = np.argsort(data.eval["length"], kind="stable")
    middle, some = len(order) // 2, min(many, len(order))
    start = max(0, min(middle - some // 2, len(order) - some))
    return {
        "latency": [data.eval[int(order[middle])]],
        "throughput": [data.eval[int(i)] for i in order[start : start + some]],
    }, some


def _said(models: Mapping[str, nn.Module], speeds: report.Speeds, some: int) -> dict[str, Any]:
    device = next(next(iter(models.values())).parameters()).device
    return {
        "device": str(device), "threads": torch.get_num_threads(), "dtype": "float32",
        "batch": {"latency": 1, "throughput": some}, "repeats": speeds.repeats,
    }  # fmt: skip
