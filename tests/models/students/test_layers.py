from __future__ import annotations

import pytest

from textkd.models.students import choose_layers, first_layers, last_layers, uniform_layers


@pytest.mark.parametrize(
    ("blocks", "n", "expected"),
    [
        (6, 3, [2, 4, 6]),
        (12, 4, [3, 6, 9, 12]),
        (12, 6, [2, 4, 6, 8, 10, 12]),
        (12, 5, [2, 5, 7, 10, 12]),
        (3, 3, [1, 2, 3]),
    ],
)
def test_uniform(blocks: int, n: int, expected: list[int]) -> None:
    assert uniform_layers(blocks, n) == expected


@pytest.mark.parametrize("blocks", range(1, 33))
def test_uniform_is_strictly_rising_and_ends_in_the_last(blocks: int) -> None:
    for n in range(1, blocks + 1):
        chosen = uniform_layers(blocks, n)
        assert chosen == sorted(set(chosen))
        assert (len(chosen), chosen[-1]) == (n, blocks)
        assert chosen[0] >= 1


def test_first_last_and_negative() -> None:
    assert first_layers(6, 2) == [1, 2]
    assert last_layers(6, 2) == [5, 6]
    assert choose_layers(6, [-1, 1]) == [6, 1]
    assert choose_layers(6, (2, 4), 2) == [2, 4]
    assert choose_layers(6, "last", 1) == [6]
