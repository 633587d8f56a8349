"""What every registered loss costs, beside plain MSE on taps of the same kind.

    python benchmarks/losses.py                    # BERT-base shapes: 16x128x768, 12 heads, 1000 classes per token
    python benchmarks/losses.py --quick NAME ...   # the shapes of the tests, these losses only

Prints a table (median time of forward and backward, the memory that one such step allocates at its peak) and one line
of JSON. A loss and its MSE take turns in one process, so that a busy machine slows both. The exit code is 1 where a
loss takes more than `LIMIT` times its MSE without a reason in `REASONS`.
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
from typing import Any

import torch
from machine import tell_cpu
from memory import peak_bytes
from torch import Tensor, nn

from textkd import losses
from textkd.losses import masking
from textkd.losses.modules import Learner
from textkd.objective.projections import Grid

LIMIT = 20.0
# (family, loss) -> (limit, why it may take longer than LIMIT times an MSE, which only reads its inputs once)
# (a matrix product costs more beside an MSE the fewer cores there are, so these limits are wide)
REASONS: dict[tuple[str, str], tuple[float, str]] = {
    ("logits", "adversarial"): (60, "a discriminator reads every token's logits, forward and back"),
    ("logits", "batch_correlation"): (150, "products of all tokens' distributions with each other"),
    ("logits", "class_correlation"): (80, "products of all classes with each other, over the tokens"),
    ("logits", "permuted_soft_cross_entropy"): (50, "a permutation of the classes for every token"),
    ("logits", "uld"): (50, "sorts the classes of every token on both sides"),
    ("hidden", "factor_transfer"): (80, "three learned maps on each side; they are the method"),
    ("hidden", "kdsvd"): (200, "a singular value decomposition of every sample's tokens"),
    ("hidden", "mgskd_tokens"): (200, "64 relation heads with a map of all pairs of tokens each, and angles"),
    ("hidden", "vid"): (120, "three learned maps of the student's width; they are the method"),
}
# options without a default
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {}
TAPS = {"layers": 3, "kinds": 3, "": 1}
ROWS = 20_000  # of the training data, for losses that remember each
CHARACTERS = 100  # that a reader of lines writes


@dataclass(frozen=True)
class Sizes:
    batch: int = 16
    length: int = 128
    width: int = 768
    heads: int = 12
    classes: int = 1000  # of a token
    labels: int = 3  # of a sample

    @property
    def mask(self) -> Tensor:
        """[B,T] sentences of a quarter of the length to all of it."""
        lengths = torch.linspace(self.length / 4, self.length, self.batch).long()
        return torch.arange(self.length) < lengths[:, None]

    def tap(self, family: str) -> Tensor:
        """One tap of this family."""
        b, t, h = self.batch, self.length, self.heads
        shapes = {
            "labels": (b, self.labels),
            "logits": (b, t, self.classes),
            "hidden": (b, t, self.width),
            "heads": (b, h, t, self.width // h),
        }
        made = torch.randn(shapes.get(family, (b, h, t, t)))
        if family != "attention":
            return made
        return made.masked_fill(~self.mask[:, None, None], -1e4).softmax(-1)


QUICK = Sizes(batch=4, length=8, width=64, heads=4, classes=12)


@dataclass
class Step:
    """Forward and backward of one loss on fixed taps."""

    loss: Callable[..., Tensor]
    student: Any
    teacher: Any
    keywords: dict[str, Any]

    def clear(self) -> None:
        for leaf in self.student if isinstance(self.student, list) else [self.student]:
            leaf.grad = None
        if isinstance(self.loss, nn.Module):
            self.loss.zero_grad()

    def run(self) -> None:
        self.loss(self.student, self.teacher, **self.keywords).backward()

    def seconds(self) -> float:
        self.clear()
        begin = time.perf_counter()
        self.run()
        return time.perf_counter() - begin

    def mib(self) -> float:
        """Memory that a step allocates at its peak, beyond what was there before; with the gradients."""
        self.clear()
        return peak_bytes(self.run) / 2**20


def step_of(entry: losses.Loss, sizes: Sizes) -> Step:
    """The loss on random taps of its family."""
    torch.manual_seed(0)
    student, teacher = ([sizes.tap(entry.family) for _ in range(TAPS[entry.arity])] for _ in range(2))
    written = sizes.length if entry.family == "attention" else sizes.length // 4  # labels of a line
    if entry.family == "labels":
        teacher = [_labels(entry, sizes, (sizes.batch,))]
    elif not entry.needs_teacher:
        teacher = [torch.randint(CHARACTERS, (sizes.batch, written))]
    needs = {
        "marks": torch.linspace(0, 1, written).expand(sizes.batch, -1),
        "labels": _labels(entry, sizes, (sizes.batch, sizes.length)[: 2 if entry.family == "logits" else 1]),
        "example_id": torch.arange(sizes.batch),
        "progress": 0.5,
    }
    options = OPTIONS.get((entry.family, entry.name), {})
    loss, keywords = entry.fn, {name: needs[name] for name in entry.needs}
    if entry.state:
        shapes = [[tuple(x.shape) for x in side] for side in (student, teacher)]
        mine, its = shapes if entry.arity else (side[0] for side in shapes)
        grid = Grid(1, sizes.length) if entry.family == "attention" else None
        loss = entry.build(mine, its, options, ROWS, vocabulary=CHARACTERS, grid=grid)
    else:
        keywords.update(options)
    keywords["mask"] = None if entry.family == "labels" else sizes.mask
    for tap in student:
        tap.requires_grad_()
    return Step(loss, student if entry.arity else student[0], teacher if entry.arity else teacher[0], keywords)


def plain_mse(entry: losses.Loss, sizes: Sizes) -> Step:
    """The mean squared difference of as many taps of the same family, as one writes it: in plain operations."""
    students, teachers = ([sizes.tap(entry.family) for _ in range(TAPS[entry.arity])] for _ in range(2))
    mask = None if entry.family == "labels" else sizes.mask

    def mse(student: Tensor, teacher: Tensor) -> Tensor:
        valid = masking.pair_mask(mask) if entry.family in ("attention", "scores") else mask
        valid = valid[:, None] if entry.family == "heads" else valid
        return masking.masked_mean((student - teacher).square(), valid)

    def total(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        return torch.stack([mse(s, t) for s, t in zip(student, teacher, strict=True)]).sum()

    return Step(total, [tap.requires_grad_() for tap in students], teachers, {})


def measure(entry: losses.Loss, sizes: Sizes, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    step, plain = step_of(entry, sizes), plain_mse(entry, sizes)
    step.run()
    while isinstance(step.loss, Learner) and not step.loss.is_ready():
        step.run()
    plain.run()
    times = [(step.seconds(), plain.seconds()) for _ in range(repeats)]
    mine, its = (statistics.median(column) for column in zip(*times, strict=True))
    limit, reason = REASONS.get((entry.family, entry.name), (LIMIT, ""))
    return {
        "loss": f"{entry.family}/{entry.name}", "ms": 1e3 * mine, "ratio": mine / its, "limit": limit, "reason": reason,
        "mib": step.mib(), "mse_mib": plain.mib(),
    }  # fmt: skip


def _labels(entry: losses.Loss, sizes: Sizes, shape: tuple[int, ...]) -> Tensor:
    if entry.targets == "numbers":
        return torch.randn(*shape, sizes.classes if entry.family == "logits" else sizes.labels)
    if entry.targets == "flags":
        return torch.rand(*shape, sizes.labels).round()
    return torch.randint(sizes.labels, shape)


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # the profiler has a line for every start and stop
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="these losses only, e.g. hidden/lsh (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="the shapes of the tests: says whether it runs, not how fast"
    )
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args(arguments)
    tell_cpu()
    entries = [losses.get(name, family) for family in losses.FAMILIES for name in losses.names(family)]
    unknown = set(given.names) - {name for e in entries for name in (e.name, f"{e.family}/{e.name}")}
    if unknown:
        parser.error(f"no such loss: {', '.join(sorted(unknown))}; `textkd ls losses` has them all")
    asked = [e for e in entries if not given.names or {e.name, f"{e.family}/{e.name}"} & set(given.names)]
    print(f"{'loss':34} {'ms':>8} {'x MSE':>7} {'limit':>6} {'MiB':>8} {'x MSE':>6}")
    table = []
    for entry in asked:
        row = measure(entry, QUICK if given.quick else Sizes(), given.repeats)
        table.append(row)
        times = f"{row['ms']:8.2f} {row['ratio']:7.1f} {row['limit']:6.0f}"
        memory = f"{row['mib']:8.1f} {row['mib'] / max(row['mse_mib'], 1e-9):6.1f}"
        print(f"{row['loss']:34} {times} {memory}  {row['reason']}", flush=True)
    ok = given.quick or all(row["ratio"] <= row["limit"] for row in table)
    ratios, limits = ({row["loss"]: round(row[key], 2) for row in table} for key in ("ratio", "limit"))
    print(json.dumps({"name": "losses", "ratios": ratios, "limits": limits, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
