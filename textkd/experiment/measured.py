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
from textkd.models.forward import evaluating, inputs_of

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
