"""What a step of distillation costs where models are small, so that everything around them counts.

    python benchmarks/small.py            # BERT 6x384 -> 2x384, 32 rows of 32 tokens
    python benchmarks/small.py --busy 1   # the same beside another busy process
    python benchmarks/small.py --quick    # tiny shapes: whether it runs

The sides are those of step.py (`bare` and `live`: KL of logits, MSE of hidden states and of attention of 2 blocks) and
of cache.py (`plain` and `cached`: KL of logits, MSE of hidden states). The two of each pair take turns in one process.

Prints one line of JSON: `plain/cached` is the share of plain fine-tuning's samples per second that is left.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from pathlib import Path

import torch
from cache import plain
from machine import tell_cpu
from step import QUICK, Rows, Sizes, bare, textkd
from turns import Limit, milliseconds, parser, ratio, take_turns, tell

from textkd import Match

LIMITS = {"live/bare": Limit(most=1.0), "plain/cached": Limit(least=0.98)}
SMALL = Sizes(teacher=6, student=2, width=384, heads=12, batch=32, length=32)


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    given = parser(__doc__, repeats=60).parse_args(arguments)
    tell_cpu()
    sizes = QUICK if given.quick else SMALL
    torch.manual_seed(0)
    rows, teacher, student = Rows(sizes), sizes.model(sizes.teacher), sizes.model(sizes.student)
    blocks, matches = sizes.blocks, [Match("logits"), Match("hidden", layers=sizes.blocks)]
    times = take_turns({
        "bare": lambda turn: bare(teacher, copy.deepcopy(student), rows, blocks, True, turn),
        "live": lambda turn: textkd(teacher, copy.deepcopy(student), rows, sizes.matches, turn),
    }, given)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        times |= take_turns({
            "plain": lambda turn: plain(copy.deepcopy(student), rows, False, turn),
            "cached": lambda turn: textkd(
                teacher, copy.deepcopy(student), rows, matches, turn, cache=Path(folder)
            ),
        }, given)  # fmt: skip
    found = {pair: ratio(times, *pair.split("/")) for pair in LIMITS}
    threads = torch.get_num_threads()
    return tell("small", found, LIMITS, given.quick, ms=milliseconds(times), busy=given.busy, threads=threads)


if __name__ == "__main__":
    sys.exit(main())
