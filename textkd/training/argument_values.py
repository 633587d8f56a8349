"""The values of single TrainingArguments: their types, and numbers that no training can have."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args, get_type_hints

import torch
from transformers import TrainingArguments
from transformers.utils import is_torch_tf32_available

from textkd.errors import Problem, problem
from textkd.losses.options import fits, say

# beside TrainingArguments: dropout, the model's rate in this training (without dropout a student follows its teacher's
# hidden states several times closer); average, the decay of an exponential moving average of the weights, which is
# what the training ends in (docs/decisions/004)
OWN = ("dropout", "average")

LARGEST_SEED = 2**32 // 1000 - 1  # models and orders of data get seeds of their own, up to a thousand times as large
# the least value, and whether it is allowed itself
LEAST = {
    "num_train_epochs": (0, False), "learning_rate": (0, False), "per_device_train_batch_size": (1, True),
    "per_device_eval_batch_size": (1, True), "gradient_accumulation_steps": (1, True), "max_grad_norm": (0, True),
    "weight_decay": (0, True), "warmup_steps": (0, True), "logging_steps": (0, False), "save_steps": (0, False),
    "eval_steps": (0, False), "seed": (0, True), "data_seed": (0, True), "dataloader_num_workers": (0, True),
    "eval_accumulation_steps": (1, True), "neftune_noise_alpha": (0, True), "adam_epsilon": (0, False),
    "dataloader_prefetch_factor": (1, True), "max_steps": (-1, True), "eval_delay": (0, True),
    "save_total_limit": (1, True), "ddp_timeout": (1, True), "ddp_bucket_cap_mb": (1, True),
}  # fmt: skip
# the largest value: more would never end, or is more than a library can count
MANY_ROWS, LARGEST_WHOLE = 2**20, 2**31 - 1
MOST = {
    "num_train_epochs": 1_000_000, "learning_rate": 1_000_000, "weight_decay": 1_000_000, "seed": LARGEST_SEED,
    "data_seed": LARGEST_SEED, "per_device_train_batch_size": MANY_ROWS, "per_device_eval_batch_size": MANY_ROWS,
    "gradient_accumulation_steps": MANY_ROWS, "warmup_steps": LARGEST_WHOLE, "logging_steps": LARGEST_WHOLE,
    "save_steps": LARGEST_WHOLE, "eval_steps": LARGEST_WHOLE, "neftune_noise_alpha": 1_000_000,
}  # fmt: skip
# words that textkd takes beside transformers' own values
WORDS = {"bf16": ("auto",)}
OF_RATE = "lr_scheduler_kwargs"  # a block of numbers and a few words
OF_PLUGINS = ("ccl", "hccl", "cncl", "mccl")  # backends that torch knows once their package is imported


def value_problems(name: str, value: Any) -> list[Problem]:
    """What is wrong with the value of one argument, whatever the others are; names that nobody has are not looked at.

    Args:
        name: of the argument.
        value: as it was given.

    Returns:
        At most one problem, at the place `name`.

    Example:
        >>> [one.found for one in value_problems("num_train_epochs", "three")]
        ['a str']
        >>> [one.fix for one in value_problems("num_train_epochs", 1e300)]
        ['give a finite number above 0, up to 1000000']
    """
    hints = _hints()
    if name in OWN:
        return _rate_problems(name, value)
    if name not in hints or value in WORDS.get(name, ()):
        return []
    asked = f"{name}: {value!r}"
    if not fits(value, hints[name]):
        number = _number(value)
        hint = f"; a number is written without quotes: {number!r}" if number is not None else ""
        return [problem(asked, f"a {type(value).__name__}", fix=f"give {say(hints[name])}{hint}", where=name)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_problems(name, value, hints[name])
    if isinstance(value, Mapping) and name == OF_RATE:
        quoted = {key: number for key, one in value.items() if (number := _number(one)) is not None}
        fix = "; ".join(f"{key}: {number:g} is written without quotes" for key, number in quoted.items())
        return [problem(asked, "a number that is a text", fix=fix, where=name)] if quoted else []
    return _machine_problems(name, value)


def _machine_problems(name: str, value: Any) -> list[Problem]:
    """What this machine, or this launch, cannot do."""
    asked = f"{name}: {value!r}"
    if name == "fp16" and value and not torch.cuda.is_available():
        what, fix = "this machine has no GPU that computes in float16", "bf16: auto, or leave it out"
        return [problem(asked, what, fix=fix, where=name)]
    if name == "tf32" and value and not is_torch_tf32_available():
        what, fix = "this machine has no GPU that computes in TF32 (Ampere or newer)", "leave it out, or bf16: auto"
        return [problem(asked, what, fix=fix, where=name)]
    if name == "ddp_backend" and value is not None:
        usable = [one for one in _backends() if one in OF_PLUGINS or torch.distributed.is_backend_available(one)]
        if value not in usable:
            what, fix = "torch has no such backend on this machine", f"one of {', '.join(usable)}, or leave it out"
            return [problem(asked, what, near=(value, usable), fix=fix, where=name)]
        if not torch.accelerator.is_available() and int(os.environ.get("WORLD_SIZE", "1")) < 2:
            what, fix = "it is for several processes, and this is one", "leave it out, or start with torchrun"
            return [problem(asked, f"{what} (docs/many-machines.md)", fix=fix, where=name)]
    return []


def _number_problems(name: str, value: float, hint: Any) -> list[Problem]:
    """Numbers that are too small or too large."""
    asked, whole = f"{name}: {value!r}", float not in (hint, *get_args(hint))
    least, itself = LEAST.get(name, (-math.inf, True))
    most = MOST.get(name, LARGEST_WHOLE if whole else math.inf)
    if (value >= least if itself else value > least) and value <= most and math.isfinite(value):
        if name == "max_steps" and value == 0:
            return [problem(asked, "no step", fix="a number of steps, or -1 for num_train_epochs", where=name)]
        return []
    kind = "whole number" if whole else "finite number"
    bound = "" if least == -math.inf else f" of {least} or more" if itself else f" above {least}"
    bound += f"{',' if bound else ''} up to {most}" if most < math.inf else ""
    return [problem(asked, "out of range", fix=f"give a {kind}{bound}", where=name)]


def _backends() -> list[str]:
    """What processes can talk through."""
    known = torch.distributed.Backend.backend_list if torch.distributed.is_available() else []
    return [*(one for one in known if one not in ("undefined", "fake")), *OF_PLUGINS]


def _rate_problems(name: str, value: Any) -> list[Problem]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or (is_number and 0 <= value < 1):
        return []
    fix = {"dropout": "dropout: 0.0", "average": "average: 0.999 (of the weights), or leave it out"}[name]
    return [problem(f"{name}: {value!r}", "not a number from 0 to below 1", fix=fix, where=name)]


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(TrainingArguments)
