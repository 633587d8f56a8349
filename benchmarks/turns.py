"""Sides of a comparison that take turns in one process, one step each, so that a busy machine slows all of them.

A side is a function `run(turn)`: a loop that never ends and calls `turn()` where a step begins. It runs in a greenlet
of its own, so a whole trainer can be a side, with all that it does between two steps. All of them run in one thread:
OpenMP gives every thread that computes a team of its own, and teams that have more threads together than there are
cores wait for each other asleep. Each wake-up takes time, so the side with more parallel parts would look slower than
it is alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from greenlet import getcurrent, greenlet
from machine import busy, cpu

Turn = Callable[[], None]
# all threads of the process together: what a step costs where other programs take the cores away
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


class Side:
    """One of the loops. It stands still unless `seconds()` lets it take a step."""

    def __init__(self, name: str, run: Callable[[Turn], None]) -> None:
        self.name, self._loop, self._home = name, greenlet(run), getcurrent()
        self._with_graph = True  # torch keeps this for the thread, which all sides share

    def begin(self) -> None:
        """Starts the loop up to its first step."""
        self._go_on(self._home.switch)

    def seconds(self, clock: Callable[[], float]) -> float:
        """What one step takes by `clock`."""
        begin = clock()
        self._go_on()
        return clock() - begin

    def end(self) -> None:
        """Leaves the loop, which cleans up behind itself."""
        before = torch.is_grad_enabled()
        self._loop.throw()
        torch.set_grad_enabled(before)

    def _go_on(self, *given: Any) -> None:
        outside = torch.is_grad_enabled()
        torch.set_grad_enabled(self._with_graph)
        try:
            self._loop.switch(*given)  # what goes wrong in the loop is raised here
        finally:
            self._with_graph = torch.is_grad_enabled()
            torch.set_grad_enabled(outside)
        if self._loop.dead:
            raise RuntimeError(f"{self.name} has no more steps")


def take_turns(
    sides: Mapping[str, Callable[[Turn], None]], given: argparse.Namespace, warmup: int = 2
) -> dict[str, list[float]]:
    """Seconds of the steps of every side, after `warmup` steps that are not counted; in every round each side takes one
    step, in an order that is turned by one from round to round. given: what `parser` has read."""
    if given.threads:
        torch.set_num_threads(given.threads)
    repeats, clock = given.repeats, CLOCKS[given.clock]
    started, names, times = [Side(name, run) for name, run in sides.items()], list(sides), {name: [] for name in sides}
    for side in started:
        side.begin()
    with busy(given.busy):
        for number in range(warmup + repeats):
            at = number % len(started)
            for side in started[at:] + started[:at]:
                took = side.seconds(clock)
                if number >= warmup:
                    times[side.name].append(took)
    for side in started:
        side.end()
    return {name: times[name] for name in names}


def ratio(times: Mapping[str, list[float]], one: str, other: str) -> float:
    """The median over the rounds of what `one` took over what `other` took."""
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))


@dataclass(frozen=True)
class Limit:
    """What a ratio must be: at least `least`, at most `most`; none is told where both are None."""

    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether `value` is within."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def tell(name: str, ratios: Mapping[str, float], limits: Mapping[str, Limit], quick: bool, **more: Any) -> int:
    """Prints the line of JSON; `limits` are [least, most] of the ratios that have one; at tiny shapes they mean
    nothing. The exit code, 0: it was measured."""
    ok = quick or all(limit.holds(ratios[key]) for key, limit in limits.items())
    said = {
        "name": name,
        "ratios": {key: round(value, 4) for key, value in ratios.items()},
        "limits": {key: [limit.least, limit.most] for key, limit in limits.items()},
        "ok": ok,
        "quick": quick,
        "cpu": cpu(),
        **more,
    }
    print(json.dumps(said), flush=True)
    return 0


def parser(doc: str | None, repeats: int) -> argparse.ArgumentParser:
    """The options of every program here."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    made = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    made.add_argument("--quick", action="store_true", help="tiny shapes: says whether it runs, not how fast")
    made.add_argument("--repeats", type=int, default=repeats, help="rounds, in which every side takes a turn")
    made.add_argument("--threads", type=int, default=0, help="of torch (default: all cores)")
    made.add_argument("--busy", type=int, default=0, help="run beside so many other busy processes")
    made.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a busy machine, with one thread")
    return made


def milliseconds(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of every side."""
    return {name: round(1e3 * statistics.median(column), 2) for name, column in times.items()}
