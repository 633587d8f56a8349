"""Batches of like length: the default for text, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import random

from textkd.training.arguments import make_arguments
from textkd.training.sampler import by_length

LENGTHS = random.Random(0).choices(range(4, 129), k=800)


def padded(order: list[int], size: int = 16) -> int:
    """Tokens of all batches, each padded to its longest row."""
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in batches)


def test_by_length_is_the_default_and_saves_most_of_the_padding() -> None:
    arguments = make_arguments({"seed": 1}, "unused")
    assert arguments.train_sampling_strategy == "group_by_length"
    order = list(by_length({"length": LENGTHS}, arguments, 16, lambda: 0))
    shuffled = random.Random(0).sample(range(len(LENGTHS)), len(LENGTHS))
    assert sorted(order) == list(range(len(LENGTHS)))
    assert padded(order) < 1.1 * sum(LENGTHS)
    assert padded(shuffled) > 1.6 * sum(LENGTHS)


def test_the_order_is_that_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(by_length({"length": LENGTHS}, make_arguments({"seed": seed}, "unused"), 16, lambda: epoch))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
