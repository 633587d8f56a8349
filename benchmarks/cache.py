"""What a teacher's cache on disk costs and saves.

    python benchmarks/cache.py            # BERT 12x768 -> 3x768, 16 rows of 128 tokens
    python benchmarks/cache.py --busy 1   # the same beside another busy process
    python benchmarks/cache.py --quick    # tiny shapes: whether it runs

First, filling: `build`, estimate and all, of a cache of logits and hidden states of 3 blocks over new rows, beside
`pass`, the teacher's plain forward over them; a turn is all 32 rows, so a third of the rounds is enough. Then,
training: `cached`, textkd's trainer with these taps from the full cache, that is from the second epoch on, beside
`plain`, transformers' own Trainer on the labels. The two sides of each comparison take turns in one process.

Prints one line of JSON: `plain/cached` is the share of plain fine-tuning's samples per second that is left.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
import tempfile
from pathlib import Path

import torch
from machine import has_native_bf16, tell_cpu
from step import QUICK, AtStart, Rows, Sizes, collate, textkd
from torch import nn
from transformers import Trainer
from turns import Limit, Turn, milliseconds, parser, ratio, take_turns, tell

from textkd import Match
from textkd.teachers.cache import CachedTeacher, CacheOptions, Size, build, estimate
from textkd.training.arguments import make_arguments

LIMITS = {"build/pass": Limit(most=1.1), "plain/cached": Limit(least=0.98)}


def plain(student: nn.Module, rows: Rows, bf16: bool, turn: Turn) -> None:
    """transformers' own fine-tuning on the labels."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = make_arguments({
            "max_steps": 1_000_000, "per_device_train_batch_size": rows.size, "eval_strategy": "no", "bf16": bf16,
            "save_strategy": "no", "learning_rate": 1e-4, "report_to": "none", "use_cpu": True,
            "train_sampling_strategy": "random", "disable_tqdm": True, "logging_strategy": "no",
        }, folder)  # fmt: skip
        callbacks = [AtStart(turn)]
        Trainer(student, arguments, train_dataset=rows, data_collator=collate, callbacks=callbacks).train()


def one_pass(teacher: nn.Module, rows: Rows, turn: Turn) -> None:
    """The teacher's plain forward over all rows; a turn is the whole pass."""
    teacher.eval()
    with torch.no_grad():
        while True:
            turn()
            for batch in rows.batches():
                teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])


def filling(teacher: nn.Module, rows: Rows, taps: list[str], folder: Path, told: list[Size], turn: Turn) -> None:
    """A new cache over all rows in every turn."""
    for number in itertools.count():
        cached = CachedTeacher(teacher, taps, folder / str(number), CacheOptions())  # hashes the weights, once
        turn()
        told.append(estimate(cached, rows, collate))
        build(cached, rows, collate, rows.size, told[-1])
        cached.close()


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; the exit code."""
    options = parser(__doc__, repeats=7)
    options.add_argument("--bf16", action="store_true", help="train in bf16")
    given = options.parse_args(arguments)
    tell_cpu()
    if given.bf16 and not has_native_bf16():
        options.error("this CPU only emulates bf16: leave --bf16 out")
    sizes, told = QUICK if given.quick else Sizes(batches=2), list[Size]()
    torch.manual_seed(0)
    rows, teacher, student = Rows(sizes), sizes.model(sizes.teacher), sizes.model(sizes.student)
    taps = ["logits", *(f"hidden:{block}" for block in sizes.blocks.values())]
    matches = [Match("logits"), Match("hidden", layers=sizes.blocks)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times = take_turns({
            "pass": lambda turn: one_pass(copy.deepcopy(teacher), rows, turn),
            "build": lambda turn: filling(teacher, rows, taps, folder, told, turn),
        }, argparse.Namespace(**{**vars(given), "repeats": -(-given.repeats // 3)}), warmup=1)  # fmt: skip
        times |= take_turns({
            "plain": lambda turn: plain(copy.deepcopy(student), rows, given.bf16, turn),
            "cached": lambda turn: textkd(
                teacher, copy.deepcopy(student), rows, matches, turn, given.bf16, folder / "kept"
            ),
        }, given)  # fmt: skip
    found = {pair: ratio(times, *pair.split("/")) for pair in LIMITS}
    kept = {"bytes_per_row": round(told[-1].bytes), "dense_float32_bytes_per_row": round(told[-1].dense)}
    kept |= {"rows": len(rows), "busy": given.busy, "threads": torch.get_num_threads()}
    return tell("cache", found, LIMITS, given.quick, ms=milliseconds(times), **kept)


if __name__ == "__main__":
    sys.exit(main())
