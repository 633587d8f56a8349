"""Speed of models, measured so that they can be compared: in turns, in one process, in eval mode, medians."""

from __future__ import annotations

import inspect
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from textkd.errors import fail
from textkd.models.forward import own_columns

KINDS = ("latency", "throughput")
_LEAST_ROUNDS = 3
Key = TypeVar("Key", bound=Hashable)


class Speeds(dict[str, dict[str, float]]):
    """What was measured of each model, by name.

    Attributes:
        repeats: how many rounds the medians stand on.

    Example:
        >>> speeds = Speeds({"student": {"latency_ms": 2.0, "samples_per_s": 900.0}})
        >>> speeds.repeats = 30
        >>> speeds["student"]["latency_ms"]
        2.0
    """

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

    Models run in eval mode without gradients; the mode of every submodule is put back.

    Args:
        models: name -> module, each measured on the device it is on.
        batches: "latency" (one sample, [1, T] tensors) and "throughput" (many, [B, T]); each model gets what its
            `forward` names, without labels.
        repeats: rounds per kind of batch.
        warmup: rounds before these, which are not counted.
        budget_s: seconds, half of them per kind of batch; once they are spent there are fewer rounds (never under 3,
            where `repeats` asks for as many).

    Returns:
        Medians by model: "latency_ms" of one batch, "samples_per_s".

    Raises:
        TextkdError: a batch is missing, or a model's `forward` names nothing of it.

    Example:
        >>> batches = {"latency": {"input": torch.ones(1, 4)}, "throughput": {"input": torch.ones(8, 4)}}
        >>> speeds = measure_speed({"small": nn.Linear(4, 2)}, batches, repeats=1, warmup=1)
        >>> sorted(speeds["small"]), speeds.repeats
        (['latency_ms', 'samples_per_s'], 1)
    """
    check_batches(batches)
    speeds = Speeds({name: {} for name in models})
    rounds = []
    with eval_mode(models), torch.no_grad():
        for kind in KINDS:
            calls = {name: _call(name, model, own_columns(batches[kind], name)) for name, model in models.items()}
            seconds, done = median_seconds(calls, repeats, warmup, budget_s / 2)
            rounds.append(done)
            size = len(next(iter(batches[kind].values())))
            for name, taken in seconds.items():
                speeds[name].update(
                    {"latency_ms": 1e3 * taken} if kind == "latency" else {"samples_per_s": size / taken}
                )
    speeds.repeats = min(rounds)
    return speeds


def check_batches(batches: Mapping[str, Any]) -> None:
    for kind in KINDS:
        if kind not in batches:
            raise fail(f"speed with batches {sorted(batches)}", f"no {kind!r} batch", near=(kind, batches))


def median_seconds(
    calls: Mapping[Key, Callable[[], None]], repeats: int, warmup: int, budget_s: float
) -> tuple[dict[Key, float], int]:
    """(median seconds of every call, rounds made): each round makes every call once, in order."""
    end = time.perf_counter() + budget_s
    for done in range(warmup):
        if done and time.perf_counter() > end:
            break
        for call in calls.values():
            call()
    times: dict[Key, list[float]] = {name: [] for name in calls}
    rounds = 0
    while rounds < max(repeats, 1) and not (rounds >= _LEAST_ROUNDS and time.perf_counter() > end):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: statistics.median(taken) for name, taken in times.items()}, rounds


def device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def finished(call: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """The call, ended only when the device has done its work."""

    def run() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return run


@contextmanager
def eval_mode(models: Mapping[str, nn.Module]) -> Iterator[None]:
    # Module by module: `model.train(was)` would wake submodules that the user put to eval on purpose.
    modes = [(module, module.training) for model in models.values() for module in model.modules()]
    try:
        for model in models.values():
            model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _call(name: str, model: nn.Module, batch: Mapping[str, Tensor]) -> Callable[[], None]:
    device = device_of(model)
    named = inspect.signature(model.forward).parameters
    inputs = {key: value.to(device) for key, value in batch.items() if key in named and key != "labels"}
    if not inputs:
        raise fail(f"the speed of {name}", f"its forward names none of the batch's {sorted(batch)}", near=(name, named))
    return finished(lambda: model(**inputs), device)
