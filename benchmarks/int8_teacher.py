"""What a teacher in int8 (`runtime: int8`) saves, live and while its cache is filled.

    python benchmarks/int8_teacher.py            # BERT 12x768 -> 3x768, 16 rows of 128 tokens
    python benchmarks/int8_teacher.py --quick    # tiny shapes: whether it runs

Steps: `bare`, `live` and `live_bf16` as in step.py, `int8` with the same teacher through onnxruntime. Filling: `fill`
and `fill_int8`, `build` of a cache of logits and hidden states of 3 blocks over the rows, by a teacher in float32 and
in int8. The sides of each comparison take turns in one process.

onnxruntime uses the best kernels of the CPU whatever torch is held to: on a CPU with VNNI or AMX the figures are not
those of one without. Prints one line of JSON: the medians over the rounds of the ratios.
"""

from __future__ import annotations

import copy
import itertools
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from machine import has_native_bf16, tell_cpu
from step import QUICK, Rows, Sizes, bare, collate, textkd
from torch import nn
from turns import Limit, Turn, milliseconds, parser, ratio, take_turns, tell

from textkd.models.cpu import cpu
from textkd.teachers import CachedTeacher, CacheOptions, LiveOptions
from textkd.teachers.cache import build, estimate
from textkd.teachers.int8 import Int8Teacher

LIMITS = {"int8/bare": Limit(most=0.82), "fill/fill_int8": Limit(least=1.4)}


def filling(teacher: nn.Module, rows: Rows, taps: list[str], folder: Path, int8: bool, turn: Turn) -> None:
    """A new cache over all rows in every turn."""
    how = {"autocast": "int8", "live": partial(Int8Teacher, teacher)} if int8 else {}
    for number in itertools.count():
        cached = CachedTeacher(teacher, taps, folder / f"{number}", CacheOptions(), **how)  # type: ignore[arg-type]
        if number == 0:
            cached.fill(collate([rows[0]]))  # writes the graph
        turn()
        build(cached, rows, collate, rows.size, estimate(cached, rows, collate))
        cached.close()


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    given = parser(__doc__, repeats=7).parse_args(arguments)
    tell_cpu()
    print(cpu(), file=sys.stderr)
    sizes = QUICK if given.quick else Sizes(batches=2)
    torch.manual_seed(0)
    rows, teacher, student = Rows(sizes), sizes.model(sizes.teacher), sizes.model(sizes.student)

    def own() -> nn.Module:
        return copy.deepcopy(student)

    int8 = LiveOptions(runtime="int8")
    steps: dict[str, Callable[[Turn], None]] = {
        "bare": lambda turn: bare(teacher, own(), rows, sizes.blocks, True, turn),
        "live": lambda turn: textkd(teacher, own(), rows, sizes.matches, turn),
        "int8": lambda turn: textkd(teacher, own(), rows, sizes.matches, turn, live=int8),
    }
    if has_native_bf16():
        steps["live_bf16"] = lambda turn: textkd(teacher, own(), rows, sizes.matches, turn, bf16=True)
    taps = ["logits", *(f"hidden:{block}" for block in sizes.blocks.values())]
    with tempfile.TemporaryDirectory() as folder:
        fills = {
            "fill": partial(filling, teacher, rows, taps, Path(folder, "float"), False),
            "fill_int8": partial(filling, teacher, rows, taps, Path(folder, "int8"), True),
        }
        times = {**take_turns(steps, given), **take_turns(fills, given)}
    pairs = [*LIMITS, "int8/live", "int8/live_bf16"]
    found = {pair: ratio(times, *pair.split("/")) for pair in pairs if set(pair.split("/")) <= set(times)}
    return tell("int8_teacher", found, LIMITS, given.quick, ms=milliseconds(times), threads=torch.get_num_threads())


if __name__ == "__main__":
    sys.exit(main())
