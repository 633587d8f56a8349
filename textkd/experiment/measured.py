"""What a student costs before it is trained: milliseconds of one text, megabytes."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textkd import report
from textkd.deploy.as_module import Exported
from textkd.deploy.to_onnx import export_onnx
from textkd.experiment.distiller import Run
from textkd.models import loading
from textkd.models.fixes import repair_positions
from textkd.models.forward import evaluating, forward_inputs, inputs_of
from textkd.models.randomness import random_from
from textkd.models.students.cost import skeleton

ROUNDS, WARMUP = 30, 5


@dataclass(frozen=True)
class Cost:
    """Milliseconds of one text of median length, megabytes of weights."""

    latency_ms: float
    size_mb: float


def cost_of(run: Run, place: Path, threads: int | None = None) -> Cost:
    """What the student of a run costs in the form that it is shipped in: its first artifact, else as it is.

    Args:
        run: whose student is built, not trained.
        place: an empty folder.
        threads: of the CPU; None: as many as torch has.
    """
    name = run.experiment.report.student
    student, data = run.start(name), run.setup.rows.seen_by(name)
    order = np.argsort(data.eval["length"], kind="stable")
    batch = dict(data.collator([data.eval[int(order[len(order) // 2])]]))
    artifact = next((one for one in run.experiment.artifacts if one.of == name), None)
    model, size = student, report.weights_mb(student)
    if artifact is not None:
        twin = loading.clone(student)
        run.task.output.configure(twin, data.processing_class, data.eval)
        with loading.quiet():
            twin.save_pretrained(place / "model")
            data.processing_class.save_pretrained(place / "model")
        rows = ["a text", "another one"] if artifact.int8 == "static" else []
        export_onnx(place / "model", place / "out", int8=artifact.int8, rows=rows)
        model = Exported(place / "out", threads)
        size = model.disk_mb
    return Cost(_latency(model, batch, threads), size)


def latency_of(like: Any, config: Any, length: int) -> float:
    """Milliseconds of one text on one thread, of a model of these sizes with random weights.

    Args:
        like: of this class.
        config: the sizes.
        length: tokens of the text.
    """
    model = skeleton(like, config).to_empty(device="cpu")
    with torch.no_grad(), random_from(0):
        for weight in (*model.parameters(), *model.buffers()):
            weight.uniform_(-0.02, 0.02) if weight.is_floating_point() else weight.zero_()
    repair_positions(model)
    row = torch.ones(1, length, dtype=torch.long)
    columns = {"input_ids": row, "attention_mask": row, "token_type_ids": torch.zeros_like(row)}
    return _latency(model, {name: one for name, one in columns.items() if name in forward_inputs(model)}, 1)


def _latency(model: Any, batch: dict[str, Any], threads: int | None) -> float:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    taken = []
    try:
        with evaluating(model), torch.inference_mode():
            given = inputs_of(model, batch)
            for number in range(WARMUP + ROUNDS):
                start = time.perf_counter()
                model(**given)
                if number >= WARMUP:
                    taken.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return 1e3 * statistics.median(taken)
