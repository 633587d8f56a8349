"""What a live teacher's forward costs where a match needs only a part of it.

    python benchmarks/early_exit.py            # BERT 12x768, 16 rows of 128 tokens
    python benchmarks/early_exit.py --quick    # tiny shapes: whether it runs

Sides that take turns: `whole`, the teacher's plain forward; `hidden:k`, a live teacher that is asked for the hidden
states of block k of 12; `logits`, one that is asked for logits; `attention:6`, one that is asked for logits and the
attention maps of block 6; `hidden:12` beside `whole` shows that pooler and head are not run. Their rows are all of the
full length. `attentions`: logits and the maps of every second block. `unlike`: logits and hidden states of three
blocks, of rows of half to all of the length, which run in pieces of like length; `padded`: the same in one piece.

Prints one line of JSON. The ratio `hidden:k/share` is the time of hidden:k over k/12 of the whole forward.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable

import torch
from machine import tell_cpu
from step import QUICK, Rows, Sizes
from torch import nn
from turns import Limit, Turn, milliseconds, parser, ratio, take_turns, tell

from textkd.teachers import LiveTeacher


def whole(model: nn.Module, batch: dict[str, torch.Tensor], turn: Turn) -> None:
    """The forward of somebody without a library."""
    model.eval()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        while True:
            turn()
            model(**inputs)


def taps(model: nn.Module, batch: dict[str, torch.Tensor], addresses: list[str], turn: Turn, lean: bool = True) -> None:
    """A live teacher's; not lean: in one piece."""
    teacher = LiveTeacher(model, addresses, in_pieces=lean)
    while True:
        turn()
        teacher.taps(batch)


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    given = parser(__doc__, repeats=11).parse_args(arguments)
    tell_cpu()
    sizes = QUICK if given.quick else Sizes()
    torch.manual_seed(0)
    model, unlike = sizes.model(sizes.teacher), Rows(sizes).batches()[0]
    batch = {**unlike, "attention_mask": torch.ones_like(unlike["attention_mask"])}
    blocks, middle = range(sizes.teacher // 4, sizes.teacher + 1, sizes.teacher // 4), sizes.teacher // 2
    asked = {f"hidden:{k}": [f"hidden:{k}"] for k in blocks}
    asked |= {"logits": ["logits"], f"attention:{middle}": ["logits", f"attention:{middle}"]}
    asked["attentions"] = ["logits", *(f"attention:{k}" for k in range(2, sizes.teacher + 1, 2))]
    plain = copy.deepcopy(model)
    sides: dict[str, Callable[[Turn], None]] = {"whole": lambda turn: whole(plain, batch, turn)}
    for name, addresses in asked.items():
        sides[name] = lambda turn, addresses=addresses: taps(model, batch, addresses, turn)
    many = ["logits", *(f"hidden:{k}" for k in sizes.blocks.values())]
    sides["unlike"] = lambda turn: taps(model, unlike, many, turn)
    sides["padded"] = lambda turn: taps(model, unlike, many, turn, lean=False)
    times = take_turns(sides, given)
    found = {f"hidden:{k}/share": ratio(times, f"hidden:{k}", "whole") * sizes.teacher / k for k in blocks}
    limits = {name: Limit(0.9, 1.1) for name in found}
    found["logits/whole"] = ratio(times, "logits", "whole")
    found["attention/logits"] = ratio(times, f"attention:{middle}", "logits")
    limits["attention/logits"] = Limit(most=1.05)
    found["attentions/logits"] = ratio(times, "attentions", "logits")
    limits["attentions/logits"] = Limit(most=1.03)
    found["unlike/padded"] = ratio(times, "unlike", "padded")
    limits["unlike/padded"] = Limit(most=0.95)
    return tell("early_exit", found, limits, given.quick, ms=milliseconds(times), threads=torch.get_num_threads())


if __name__ == "__main__":
    sys.exit(main())
