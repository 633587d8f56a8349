"""Attention drawn to marks, against the sum written out; what counts as near; taps that see no patches."""

import math

import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError
from textkd.objective.projections import Grid

NONE = -100
LABELS = torch.tensor([[5, 6, 2], [7, 2, NONE]])
MARKS = torch.tensor([[0.1, 0.6, torch.nan], [0.5, torch.nan, torch.nan]])
MASK = (LABELS != NONE)[:, :, None]


def build(grid=Grid(1, 4, special=1), **options):  # noqa: B008
    return losses.get("guided", "attention").build((2, 2, 3, 5), (2, 3), options, grid=grid)


def attention(keys=5):
    torch.manual_seed(0)
    return torch.randn(2, 2, 3, keys, dtype=torch.float64).softmax(-1)


def test_it_is_the_share_of_attention_near_each_mark():
    maps, expected = attention(), 0.0
    for row, target, mark in ((0, 0, 0.1), (0, 1, 0.6), (1, 0, 0.5)):
        for head in range(2):
            near = sum(
                maps[row, head, target, 1 + column].item() * math.exp(-((column + 0.5 - 4 * mark) ** 2) / (2 * 2.0**2))
                for column in range(4)
            )
            expected -= math.log(near) / 2
    value = build(width=2.0)(maps, LABELS, MASK.expand(-1, -1, 5), marks=MARKS)
    assert value.item() == pytest.approx(expected / 5, rel=1e-4)  # five labels, three of them with a mark


def test_rows_of_patches_count_together():
    one_row, maps = build(Grid(1, 4, special=1)), attention(9)
    two_rows = build(Grid(2, 4, special=1))
    summed = torch.cat([maps[..., :1], maps[..., 1:5] + maps[..., 5:]], -1)
    assert torch.allclose(two_rows(maps, LABELS, marks=MARKS), one_row(summed, LABELS, marks=MARKS))


def test_steps_lead_to_the_mark_also_from_far_away():
    scores = torch.zeros(2, 2, 3, 5, dtype=torch.float64)
    scores[..., 4] = 8.0
    scores.requires_grad_()
    module = build(width=0.5)
    for _ in range(200):
        (grad,) = torch.autograd.grad(module(scores.softmax(-1), LABELS, marks=MARKS), scores)
        scores = (scores - 20 * grad).detach().requires_grad_()
    looked = scores.softmax(-1).argmax(-1)
    assert looked[0, :, 0].tolist() == [1, 1]  # 0.1 of four columns is the first, behind the class token
    assert looked[0, :, 1].tolist() == [3, 3]
    assert looked[1, :, 0].tolist() in ([2, 2], [3, 3])
    assert (looked[0, :, 2] == 4).all()  # no mark: left alone


def test_nothing_is_known():
    maps = attention().requires_grad_()
    value = build()(maps, LABELS, marks=torch.full((2, 3), torch.nan))
    assert value.item() == 0
    (grad,) = torch.autograd.grad(value, maps)
    assert not grad.any()


def test_a_tap_without_patches():
    with pytest.raises(TextkdError, match="cross_attention"):
        build(grid=None)
