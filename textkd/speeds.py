"""How fast the models of a run are, on rows of its evaluation set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from textkd import report

MANY, MANY_LINES = 32, 16


def speed(task: Any, models: Mapping[str, nn.Module], data: Any) -> tuple[report.Speeds, dict[str, Any]]:
    """Of forward passes: one row of median length, and 32 around it."""
    batches, some = _batches(data, MANY)
    speeds = report.measure_speed(models, batches)
    length = int(batches["throughput"]["input_ids"].shape[-1])
    return speeds, {**_said(models, speeds, some), "sequence_length": length}


def writing_speed(task: Any, models: Mapping[str, nn.Module], data: Any) -> tuple[report.Speeds, dict[str, Any]]:
    """Of writing whole texts, with the settings that the metrics were made with: one line of median length, and 16."""
    batches, some = _batches(data, MANY_LINES)
    each: list[dict[str, Any]] = [task.generation_settings(model, data.eval) for model in models.values()]
    settings = min(each, key=lambda one: int(one["max_new_tokens"]))  # fewer positions, fewer tokens
    speeds = report.measure_generation(models, batches, settings)
    return speeds, {**_said(models, speeds, some), "sequence_length": None, "generation": settings}


def _batches(data: Any, many: int) -> tuple[dict[str, dict[str, Tensor]], int]:
    order = np.argsort(data.eval["length"], kind="stable")
    middle, some = len(order) // 2, min(many, len(order))
    start = max(0, min(middle - some // 2, len(order) - some))
    return {
        "latency": data.collator([data.eval[int(order[middle])]]),
        "throughput": data.collator([data.eval[int(i)] for i in order[start : start + some]]),
    }, some


def _said(models: Mapping[str, nn.Module], speeds: report.Speeds, some: int) -> dict[str, Any]:
    device = next(next(iter(models.values())).parameters()).device
    return {
        "device": str(device), "threads": torch.get_num_threads(), "dtype": "float32",
        "batch": {"latency": 1, "throughput": some}, "repeats": speeds.repeats,
    }  # fmt: skip
