"""Losses over a large vocabulary: in chunks of positions, beside the plain form that takes all of them at once.

    python benchmarks/vocab_kl.py            # 1,024 positions of 64,044 classes; minutes on two cores
    python benchmarks/vocab_kl.py --quick    # a few positions: says whether it runs, not how good it is

Every case is one forward and backward. Times: both forms take turns in one process, and the ratio is that of the
medians. Memory: the most that torch's allocator has out at once beyond what was there before the step (logits; with a
head also hidden states and weights), so the gradients count in; read from the allocations and frees that torch.profiler
notes in a step of its own. "fused" are the same losses where both sides' logits come from a linear head and the plain
form is that head followed by the plain loss. Values and gradients of both forms are compared first. Prints a table and
one line of JSON; `ok` says whether every ratio is within its limit (with --quick they are not looked at). The soft
cross entropy has no limit of memory: its plain form takes four times the logits, of which the gradient alone is one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from machine import tell_cpu
from memory import peak_bytes
from torch import Tensor
from torch.nn import functional as F

from textkd import losses
from textkd.losses.linear import LinearLogits

LIMITS = {"memory": 0.25, "time": 1.15}
NO_LIMIT = ("soft_cross_entropy memory",)
NAMES = ("kl", "soft_cross_entropy", "reverse_kl", "jsd")
FUSED = ("kl",)


@dataclass(frozen=True)
class Sizes:
    positions: int = 1024
    classes: int = 64_044
    width: int = 384  # of the student's hidden states
    teacher_width: int = 768


QUICK = Sizes(positions=256, classes=9000, width=8, teacher_width=16)


@dataclass
class Case:
    """Two forms of one loss on the same leaves."""

    name: str
    plain: Callable[[], Tensor]
    ours: Callable[[], Tensor]
    leaves: list[Tensor]

    def run(self, form: Callable[[], Tensor]) -> Tensor:
        for leaf in self.leaves:
            leaf.grad = None
        value = form()
        value.backward()
        return value.detach()

    def seconds(self, form: Callable[[], Tensor]) -> float:
        begin = time.perf_counter()
        self.run(form)
        return time.perf_counter() - begin

    def peak(self, form: Callable[[], Tensor]) -> int:
        """Bytes of one step at its peak."""
        for leaf in self.leaves:
            leaf.grad = None
        return peak_bytes(lambda: self.run(form))

    def check(self) -> None:
        """Raises AssertionError unless both forms have the same value and gradients."""
        found = []
        for form in (self.plain, self.ours):
            value = self.run(form)
            found.append((value, [leaf.grad for leaf in self.leaves]))
        (value, gradients), (other, others) = found
        torch.testing.assert_close(other, value, rtol=1e-5, atol=1e-6)
        for one, two in zip(gradients, others, strict=True):
            assert one is not None
            torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5 * one.abs().max().item())


def on_logits(name: str, sizes: Sizes) -> Case:
    """The loss of logits that are there."""
    student, teacher = (3 * torch.randn(1, sizes.positions, sizes.classes) for _ in range(2))
    student.requires_grad_()
    loss = losses.get(name, "logits")
    return Case(
        name,
        lambda: loss(student, teacher, chunk=0, temperature=2.0),
        lambda: loss(student, teacher, temperature=2.0),
        [student],
    )


def on_heads(name: str, sizes: Sizes) -> Case:
    """The loss of hidden states before linear heads."""
    hidden, its = (torch.randn(1, sizes.positions, width) for width in (sizes.width, sizes.teacher_width))
    weight = (torch.randn(sizes.classes, sizes.width) / sizes.width**0.5).requires_grad_()
    its_weight = 3 * torch.randn(sizes.classes, sizes.teacher_width) / sizes.teacher_width**0.5
    hidden.requires_grad_()
    loss = losses.get(name, "logits")
    return Case(
        f"fused {name}",
        lambda: loss(F.linear(hidden, weight), F.linear(its, its_weight), chunk=0, temperature=2.0),
        lambda: loss(LinearLogits(hidden, weight), LinearLogits(its, its_weight), temperature=2.0),
        [hidden, weight],
    )


def measure(case: Case, repeats: int) -> dict[str, float]:
    """Medians of interleaved repeats and peaks of both forms, and their ratios."""
    case.check()
    times = [(case.seconds(case.ours), case.seconds(case.plain)) for _ in range(repeats)]
    ours, plain = (statistics.median(column) for column in zip(*times, strict=True))
    peaks = case.peak(case.ours), case.peak(case.plain)
    return {
        "seconds": ours, "plain_seconds": plain, "time": ours / plain,
        "mib": peaks[0] / 2**20, "plain_mib": peaks[1] / 2**20, "memory": peaks[0] / peaks[1],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # the profiler has a line for every start and stop
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: says whether it runs, not how good it is")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    tell_cpu()
    sizes, ratios = QUICK if given.quick else Sizes(), dict[str, float]()
    print(f"{'loss':24} {'s':>7} {'plain s':>8} {'ratio':>6} {'MiB':>8} {'plain MiB':>10} {'ratio':>6}")
    for make, names in ((on_logits, NAMES), (on_heads, FUSED)):
        for name in names:
            torch.manual_seed(0)
            case = make(name, sizes)
            row = measure(case, given.repeats)
            times = f"{row['seconds']:7.2f} {row['plain_seconds']:8.2f} {row['time']:6.2f}"
            print(f"{case.name:24} {times} {row['mib']:8.0f} {row['plain_mib']:10.0f} {row['memory']:6.3f}", flush=True)
            ratios |= {f"{case.name} {what}": round(row[what], 3) for what in LIMITS}
    limits = {name: LIMITS[name.rpartition(" ")[2]] for name in ratios if name not in NO_LIMIT}
    ok = given.quick or all(ratios[name] <= limit for name, limit in limits.items())
    print(json.dumps({"name": "vocab_kl", "ratios": ratios, "limits": limits, "ok": ok}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
