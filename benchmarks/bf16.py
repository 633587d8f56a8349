"""Whether a CPU computes a linear layer's training in bf16 faster than in float32.

    python benchmarks/bf16.py            # rows and widths of BERT base and of a small reader of lines
    python benchmarks/bf16.py --quick    # a tiny shape: whether it runs

Forward and backward of a linear layer, as it is and under autocast; the two take turns in one process. `bf16: auto`
takes bf16 where `textkd.training.arguments.has_bf16` says so, by what the machine is: there the ratio
`float32/bf16` must be at least 1, elsewhere, where it is emulated, at most 1, and only the smallest shape is run.

Prints one line of JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from machine import has_native_bf16, tell_cpu
from torch import nn
from turns import Limit, Turn, milliseconds, parser, ratio, take_turns, tell

SHAPES = [(2048, 768, 3072), (2048, 768, 768), (1160, 192, 384), (480, 160, 320)]  # rows, width in, width out


def loop(is_half: bool, shape: tuple[int, int, int], turn: Turn) -> None:
    """Forward and backward of one layer, over and over."""
    rows, width, out = shape
    layer, inputs = nn.Linear(width, out), torch.randn(rows, width, requires_grad=True)
    grad = torch.randn(rows, out)
    while True:
        turn()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            said = layer(inputs)
        torch.autograd.grad(said, [inputs, layer.weight], grad.to(said.dtype))


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    given = parser(__doc__, repeats=7).parse_args(arguments)
    tell_cpu()
    native, found, limits, all_times = has_native_bf16(), {}, {}, {}
    if not native:
        print("without the larger shapes: this CPU only emulates bf16", file=sys.stderr)
    for shape in [(8, 16, 16)] if given.quick else SHAPES if native else SHAPES[-1:]:
        at = " x ".join(map(str, shape))
        sides: dict[str, Callable[[Turn], None]] = {
            name: lambda turn, is_half=is_half, shape=shape: loop(is_half, shape, turn)
            for name, is_half in (("float32", False), ("bf16", True))
        }
        times = take_turns(sides, given)
        found[f"float32/bf16 {at}"] = ratio(times, "float32", "bf16")
        limits[f"float32/bf16 {at}"] = Limit(least=1.0) if native else Limit(most=1.0)
        all_times |= {f"{name} {at}": value for name, value in times.items()}
    facts = {"auto": "bf16" if native else "float32", "threads": torch.get_num_threads()}
    return tell("bf16", found, limits, given.quick, ms=milliseconds(all_times), **facts)


if __name__ == "__main__":
    sys.exit(main())
