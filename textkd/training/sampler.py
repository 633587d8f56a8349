"""Rows of like length together, in an order that a resumed run finds again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


def by_length(data: Any, args: Any, batch_size: int, epoch: Callable[[], int]) -> LengthGroupedSampler:
    """Batches of like length over the column that `args` (TrainingArguments) names; the order depends on its seed and
    `epoch()` alone."""
    seed = args.seed if args.data_seed is None else args.data_seed
    return _SeededLengthSampler(batch_size, list(data[args.length_column_name]), seed, epoch)


class _SeededLengthSampler(LengthGroupedSampler):  # type: ignore[misc]
    """Length-grouped batches in an order that depends on seed and epoch alone, so that a resumed run sees the same."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int, epoch: Callable[[], int]) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed, self.epoch = seed, epoch

    def __iter__(self) -> Any:
        self.generator.manual_seed(self.seed * 100_003 + self.epoch())
        return super().__iter__()
