"""Activation boundaries, element by element."""

import numpy as np
import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError

LOSS = losses.get("activation_boundaries", "hidden")
MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])


def by_hand(s, t, mask, margin):
    """The sum of the original's two cases."""
    total = 0.0
    for i in np.ndindex(*s.shape):
        if mask[i[:2]]:
            total += (s[i] + margin) ** 2 * (s[i] > -margin and t[i] <= 0)
            total += (s[i] - margin) ** 2 * (s[i] <= margin and t[i] > 0)
    return total


@pytest.mark.parametrize(("reduction", "items"), [("sum", 1), ("per_sample", 2), ("token_mean", 3), ("mean", 12)])
def test_value(reduction, items):
    torch.manual_seed(0)
    student, teacher = ([torch.randn(2, 3, 4, dtype=torch.float64) for _ in range(3)] for _ in range(2))
    teacher[1][0, 0, 0] = 0.0
    terms = [by_hand(s.numpy(), t.numpy(), MASK.numpy(), 0.7) for s, t in zip(student, teacher, strict=True)]
    value = LOSS(student, teacher, MASK, margin=0.7, reduction=reduction)
    assert value.item() == pytest.approx((terms[0] / 4 + terms[1] / 2 + terms[2]) / items, rel=1e-12)


def test_the_teachers_side_with_the_margin_costs_nothing():
    teacher = torch.tensor([[0.1, -0.1, 0.0]])
    assert LOSS([torch.tensor([[1.0, -1.0, -1.0]])], [teacher]).item() == 0
    assert LOSS([torch.tensor([[1.0, -1.0, 1.0]])], [teacher]).item() == pytest.approx(4 / 3)


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(TextkdError, match="2 of the student, 1 of the teacher"):
        LOSS([torch.ones(1, 2)] * 2, [torch.ones(1, 2)])
