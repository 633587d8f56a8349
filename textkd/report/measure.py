"""Size, speed and memory of models, measured so that models can be compared: side by side, in one process."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from textkd.errors import fail

MB = 1e6
PACKAGES = ("textkd", "torch", "transformers", "datasets", "accelerate", "evaluate", "numpy")
_PROJECTION = "textkd_"
_LEAST_ROUNDS = 3


def parameters(model: nn.Module) -> int:
    """Number of parameters that the model ships with: tied ones once, textkd's own projections not at all."""
    return sum(p.numel() for name, p in model.named_parameters() if _PROJECTION not in name)


def disk_mb(folder: str | Path) -> float:
    """Size in MB (1e6 bytes) of the *.safetensors right inside the folder. An absent weight file is an error, not 0."""
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise fail(f"the size of the weights in {folder}", "no *.safetensors there", fix="save the model first")
    return sum(file.stat().st_size for file in files) / MB


class Speeds(dict[str, dict[str, float]]):
    """name -> {"latency_ms", "samples_per_s"}; `repeats` is how many rounds the medians stand on."""

    repeats: int = 0


def measure_speed(
    models: Mapping[str, nn.Module],
    batches: Mapping[str, Mapping[str, Tensor]],
    *,
    repeats: int = 30,
    warmup: int = 3,
    budget_s: float = 60.0,
) -> Speeds:
    """Times forward passes of all models in turns (A B C A B C ...), so that a busy machine slows all alike.

    models: name -> module, each measured on the device it is on. batches: "latency" (one sample, [1, T] tensors) and
    "throughput" (many, [B, T]); each model gets what its `forward` names, without labels. repeats: rounds per kind of
    batch; fewer (never under 3) once budget_s seconds, half of them per kind, are spent. Medians are returned.
    Models run in eval mode without gradients; the mode of every submodule is put back.
    """
    for kind in ("latency", "throughput"):
        if kind not in batches:
            raise fail(f"speed with batches {sorted(batches)}", f"no {kind!r} batch", near=(kind, batches))
    speeds = Speeds({name: {} for name in models})
    rounds = []
    with _eval_mode(models), torch.no_grad():
        for kind in ("latency", "throughput"):
            calls = {name: _call(name, model, batches[kind]) for name, model in models.items()}
            times = _rounds(calls, repeats, warmup, budget_s / 2)
            rounds += [len(taken) for taken in times.values()]
            size = len(next(iter(batches[kind].values())))
            for name, taken in times.items():
                seconds = statistics.median(taken)
                speeds[name].update(
                    {"latency_ms": 1e3 * seconds} if kind == "latency" else {"samples_per_s": size / seconds}
                )
    speeds.repeats = min(rounds, default=0)
    return speeds


def _rounds(
    calls: Mapping[str, Callable[[], None]], repeats: int, warmup: int, budget_s: float
) -> dict[str, list[float]]:
    end = time.perf_counter() + budget_s
    for done in range(warmup):
        if done and time.perf_counter() > end:
            break
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for done in range(max(repeats, 1)):
        if done >= _LEAST_ROUNDS and time.perf_counter() > end:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return times


def _call(name: str, model: nn.Module, batch: Mapping[str, Tensor]) -> Callable[[], None]:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    named = inspect.signature(model.forward).parameters
    inputs = {key: value.to(device) for key, value in batch.items() if key in named and key != "labels"}
    if not inputs:
        raise fail(f"the speed of {name}", f"its forward names none of the batch's {sorted(batch)}", near=(name, named))

    def call() -> None:
        model(**inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return call


@contextmanager
def _eval_mode(models: Mapping[str, nn.Module]) -> Iterator[None]:
    # Module by module: `model.train(was)` would wake submodules that the user put to eval on purpose.
    modes = [(module, module.training) for model in models.values() for module in model.modules()]
    try:
        for model in models.values():
            model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


class PeakMemory:
    """Context manager; afterwards `mb` is the peak inside the block, in MB (1e6 bytes).

    On a cuda device: memory that torch allocated there. Otherwise: the resident memory of this whole process (without
    its children), looked at every 50 ms, so a shorter peak between two looks is missed.
    """

    def __init__(self, device: str | torch.device = "cpu", interval_s: float = 0.05) -> None:
        self.device = torch.device(device)
        self.interval_s = interval_s
        self.mb = 0.0

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            return self
        self._process = psutil.Process()
        self._stop = threading.Event()
        self.mb = 0.0
        self._look()
        self._thread = threading.Thread(target=self._watch, name="textkd-peak-memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.mb = torch.cuda.max_memory_allocated(self.device) / MB
            return
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(self.interval_s):
            self._look()

    def _look(self) -> None:
        self.mb = max(self.mb, self._process.memory_info().rss / MB)


def hardware() -> dict[str, Any]:
    """{"cpu": model name, "cores": cores that this process may use, "gpu": names of the cuda devices}."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpu = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {"cpu": _cpu_name(), "cores": cores, "gpu": gpu}


def _cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def versions() -> dict[str, str]:
    """Python's and the libraries' versions; a library that is not installed as a package is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
