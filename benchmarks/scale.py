"""Whether a training on cached taps costs the same per sample, and the same memory, however many rows there are.

    python benchmarks/scale.py            # 1,000, 10,000 and 50,000 rows
    python benchmarks/scale.py --quick    # 64, 128 and 256 rows: whether it runs

A small teacher fills a cache of logits and hidden states for each number of rows (BERT 2x64 -> 1x64, 16 rows of 32
tokens), so that reading the cache is a good part of a step. Time: textkd's trainer over each of them, rows in random
order, takes turns in one process; a turn is 16 steps. Memory: each trains for one epoch in a process of its own; what
is told is its own memory at the end, without pages of files that the system can drop.

Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from cache import CachedTeacher, CacheOptions, build, estimate
from greenlet import GreenletExit
from machine import tell_cpu
from step import Sizes, collate, textkd
from turns import CLOCKS, Limit, Turn, milliseconds, parser, ratio, take_turns, tell

from textkd import Match

ROWS = (1_000, 10_000, 50_000)
STEPS = 16  # of one turn
SIZES = Sizes(teacher=2, student=1, width=64, heads=4, batch=16, length=32, vocabulary=1000)
TAPS = ["logits", "hidden:2"]


class ManyRows:
    """Random sentences that nobody holds in memory: each is made from its number."""

    column_names = ("input_ids", "attention_mask", "labels")
    size = SIZES.batch

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int | str) -> Any:
        if isinstance(i, str):
            return [SIZES.length] * self.count
        generator = torch.Generator().manual_seed(i)
        ids = torch.randint(5, SIZES.vocabulary, (SIZES.length,), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor(i % 3)}

    def batches(self) -> list[dict[str, torch.Tensor]]:
        """One, to try taps on."""
        return [collate([self[i] for i in range(self.size)])]


def train(rows: int, folder: Path, turn: Turn) -> None:
    """Trains a small student on the cached taps of so many rows."""
    torch.manual_seed(0)
    teacher, student = SIZES.model(SIZES.teacher), SIZES.model(SIZES.student)
    matches = [Match("logits"), Match("hidden", layers=SIZES.blocks)]
    textkd(teacher, copy.deepcopy(student), ManyRows(rows), matches, turn, cache=folder / str(rows))


def fill(rows: int, folder: Path) -> None:
    """The cache that `train` reads."""
    torch.manual_seed(0)
    data, teacher = ManyRows(rows), SIZES.model(SIZES.teacher)
    cached = CachedTeacher(teacher, TAPS, folder / str(rows), CacheOptions())
    build(cached, data, collate, 64, estimate(cached, data, collate))
    cached.close()


def every(steps: int, turn: Turn) -> Turn:
    """Calls `turn` at the first of every so many calls."""
    count = 0

    def call() -> None:
        nonlocal count
        if count % steps == 0:
            turn()
        count += 1

    return call


def one_epoch(rows: int, folder: Path) -> float:
    """Trains for an epoch; MiB of this process's own memory."""
    count = 0

    def turn() -> None:
        nonlocal count
        count += 1
        if count > -(-rows // SIZES.batch):
            raise GreenletExit

    with contextlib.suppress(GreenletExit):
        train(rows, folder, turn)
    memory = psutil.Process().memory_info()
    return float(memory.rss - getattr(memory, "shared", 0)) / 2**20


def in_a_process(rows: int, folder: Path, given: argparse.Namespace) -> float:
    """`one_epoch` in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", str(rows), "--folder", str(folder)]
    ended = subprocess.run([*command, "--threads", str(given.threads)], stdout=subprocess.PIPE, text=True, check=True)
    return float(ended.stdout.split()[-1])


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    options = parser(__doc__, repeats=15)
    options.add_argument("--memory-of", type=int, default=0, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.memory_of:
        print(one_epoch(given.memory_of, given.folder))
        return 0
    tell_cpu()
    counts = (64, 128, 256) if given.quick else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder, filled = Path(name), dict[str, float]()
        for rows in counts:
            begin = CLOCKS[given.clock]()
            fill(rows, folder)
            filled[str(rows)] = 1e3 * (CLOCKS[given.clock]() - begin) / rows
        sides: dict[str, Callable[[Turn], None]] = {
            str(rows): lambda turn, rows=rows: train(rows, folder, every(STEPS, turn)) for rows in counts
        }
        times = take_turns(sides, given)
        memory = {str(rows): in_a_process(rows, folder, given) for rows in counts}
    few, most = str(counts[0]), str(counts[-1])
    found = {f"time {most}/{few}": ratio(times, most, few), f"memory {most}/{few}": memory[most] / memory[few]}
    limits = {f"time {most}/{few}": Limit(0.9, 1.1), f"memory {most}/{few}": Limit(most=1.1)}
    per_sample = {name: round(value / STEPS / SIZES.batch, 4) for name, value in milliseconds(times).items()}
    return tell(
        "scale", found, limits, given.quick, ms_per_sample=per_sample, mib={k: round(v, 1) for k, v in memory.items()},
        fill_ms_per_row={k: round(v, 3) for k, v in filled.items()}, threads=torch.get_num_threads(),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
