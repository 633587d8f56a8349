"""What attention costs in training, in bf16 on a CPU: SDPA's fused kernel beside the plain one.

    python benchmarks/attention.py            # 12 heads of 64, 12 of 32 and 4 of 48 channels; 32 to 256 tokens
    python benchmarks/attention.py --quick    # tiny shapes: whether it runs

Forward and backward of transformers' attention function "sdpa" on the same queries, keys and values; the two take turns
in one process. textkd's trainer takes the plain one for sequences of up to `training.cpu_attention.SHORT` tokens,
so there the fused one must be the slower: the ratio `fused/plain` at least 1. A CPU that only emulates bf16 trains in
float32: there is nothing to measure there, unless --quick asks whether it runs.

Prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import torch
from machine import has_native_bf16, tell_cpu
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from turns import Limit, Turn, milliseconds, parser, ratio, take_turns, tell

from textkd.training.cpu_attention import SHORT, plain_attention

KERNELS = {"fused": contextlib.nullcontext, "plain": plain_attention}
ROWS = 16
HEADS = [(12, 64), (12, 32), (4, 48)]  # how many, of how many channels
TOKENS = [32, 64, 128, SHORT, 256]


def loop(
    kernel: Callable[[], contextlib.AbstractContextManager[None]], shape: tuple[int, int, int, int], turn: Turn
) -> None:
    """Forward and backward of one attention, over and over."""
    module = nn.Module()
    sides = [torch.randn(shape, dtype=torch.bfloat16).requires_grad_() for _ in range(3)]
    mask = torch.ones(shape[0], 1, shape[2], shape[2], dtype=torch.bool)
    grad = torch.randn(shape, dtype=torch.bfloat16).transpose(1, 2)
    while True:
        turn()
        with kernel():
            out, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](module, *sides, mask)
        torch.autograd.grad(out, sides, grad)


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    given = parser(__doc__, repeats=7).parse_args(arguments)
    tell_cpu()
    if not given.quick and not has_native_bf16():
        print("without any side: all are in bf16, which this CPU only emulates", file=sys.stderr)
        return tell("attention", {}, {}, given.quick)
    rows, heads, tokens = (2, [(2, 8)], [8]) if given.quick else (ROWS, HEADS, TOKENS)
    found, limits, all_times = {}, {}, {}
    for count, width in heads:
        for length in tokens:
            shape, at = (rows, count, length, width), f"{count}x{width}, {length} tokens"
            sides: dict[str, Callable[[Turn], None]] = {
                name: lambda turn, kernel=kernel, shape=shape: loop(kernel, shape, turn)
                for name, kernel in KERNELS.items()
            }  # fmt: skip
            times = take_turns(sides, given)
            pair = f"fused/plain {at}"
            found[pair] = ratio(times, "fused", "plain")
            limits[pair] = Limit(least=1.0) if length <= SHORT else Limit()
            all_times |= {f"{name} {at}": value for name, value in times.items()}
    return tell("attention", found, limits, given.quick, ms=milliseconds(all_times), threads=torch.get_num_threads())


if __name__ == "__main__":
    sys.exit(main())
