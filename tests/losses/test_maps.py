"""Activation maps on tokens: an independent formula, padding, odd powers, zeros, grids of two sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_references import LENGTHS_MASK

from textkd import losses
from textkd.errors import TextkdError

ENTRY = losses.get("activation_map", "hidden")
VARIANTS = [
    {},
    {"positions": "sum"},
    {"power": 4.0},
    {"power": 1.5},
    {"power": 3.0, "absolute": False},
    {"width": "sum", "eps": 0.3, "add_eps": True},
    {"width": "mean", "eps": 0.3, "add_eps": True},
    {"skip": 1},
]


def plain(s, t, mask, power=2.0, width="mean", absolute=True, positions="mean", eps=1e-12, add_eps=False, skip=0):
    differences = []
    for b in range(len(s)):
        valid = [i for i in range(skip, s.shape[1]) if mask[b, i]]
        maps = []
        for x in (s, t):
            q = np.array([getattr((abs(x[b, i]) if absolute else x[b, i]) ** power, width)() for i in valid])
            length = np.sqrt(sum(q**2))
            maps.append(q / (length + eps if add_eps else max(length, eps)))
        differences.append((maps[0] - maps[1]) ** 2)
    if positions == "mean":
        return np.mean(np.concatenate(differences))
    return np.mean([d.sum() for d in differences if len(d)])


def case():
    rng = np.random.default_rng(11)
    return rng.normal(size=(4, 4, 5)), rng.normal(size=(4, 4, 7))  # another width


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_value(options):
    s, t = case()
    value = ENTRY(torch.tensor(s), torch.tensor(t), torch.tensor(LENGTHS_MASK), **options)
    assert value.item() == pytest.approx(plain(s, t, LENGTHS_MASK, **options), rel=1e-11)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("garbage", [1e6, float("inf"), float("nan")])
def test_padding_changes_neither_value_nor_gradient(options, garbage):
    found, mask = [], torch.tensor(LENGTHS_MASK)
    for fill in (0.0, garbage):
        student, teacher = (torch.tensor(x).masked_fill(mask[..., None] == 0, fill).requires_grad_() for x in case())
        value = ENTRY(student, teacher, mask, **options)
        value.backward()
        found.append((value.item(), student.grad))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][1].any()
    assert not found[0][1][mask == 0].any()


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_zeros_give_a_finite_gradient(options):
    student = torch.zeros(2, 3, 5, requires_grad=True)
    ENTRY(student, torch.ones(2, 3, 5), **options).backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_finite(dtype):
    student = torch.full((2, 3, 5), 400.0, dtype=dtype).requires_grad_()  # its square is no float16
    value = ENTRY(student, torch.randn(2, 3, 5, dtype=dtype))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_a_broken_power_of_signed_values_is_refused():
    with pytest.raises(TextkdError, match="whole power"):
        ENTRY(torch.randn(2, 3, 5), torch.randn(2, 3, 5), power=1.5, absolute=False)


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 5)])
def test_other_positions_are_refused(shape):
    with pytest.raises(TextkdError, match="one shape"):
        ENTRY(torch.randn(2, 3, 5)[: shape[0]], torch.randn(shape))
