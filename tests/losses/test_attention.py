"""Attention losses beside their independent formulas: cross entropy, merged heads, TinyBERT's and TextBrewer's ways."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loss_references import LENGTHS_MASK, attention, scores, valid_pairs
from scipy.special import log_softmax, softmax

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses import check_shapes

CASES = {"attention": attention, "scores": scores}
NUMBERS = [0, 1, 2]  # without a mask, positions, causal pairs


def case_of(family, number):
    return CASES[family](np.random.default_rng(5))[number]


def plain(family, s, t, mask, heads="same", zero_below=None):
    """-sum over valid keys of p_t log p_s, mean over rows that have a key."""
    if heads != "same":
        s, t = (getattr(x, heads)(1, keepdims=True) for x in (s, t))
    found = []
    for b, h, q in np.ndindex(*s.shape[:3]):
        keys = [k for k in range(s.shape[3]) if valid_pairs(mask, b, q, k)]
        if keys and family == "attention":
            found.append(-sum(t[b, h, q, k] * math.log(max(s[b, h, q, k], 1e-12)) for k in keys))
        elif keys:
            target, log_s = softmax(t[b, h, q, keys]), log_softmax(s[b, h, q, keys])
            kept = t[b, h, q, keys] > (-math.inf if zero_below is None else zero_below)
            found.append(-sum(target * kept * log_s))
    return np.mean(found)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("heads", ["same", "mean"])
@pytest.mark.parametrize("family", CASES)
def test_cross_entropy(family, heads, number):
    case = case_of(family, number)
    value = losses.get("cross_entropy", family)(*case.tensors(), heads=heads)
    assert value.item() == pytest.approx(plain(family, case.student, case.teacher, case.mask, heads), rel=1e-12)


@pytest.mark.parametrize("options", [{"heads": "sum"}, {"zero_below": 0.2}])
def test_options_of_the_cross_entropy_of_scores(options):
    case = case_of("scores", 1)
    value = losses.get("cross_entropy", "scores")(*case.tensors(), **options)
    assert value.item() == pytest.approx(plain("scores", case.student, case.teacher, case.mask, **options), rel=1e-12)


def test_cross_entropy_is_kl_and_the_teachers_entropy():
    case = case_of("attention", 1)
    student, teacher, mask = case.tensors()
    cross, kl = (losses.get(name, "attention") for name in ("cross_entropy", "kl"))
    gap = cross(student, teacher, mask) - kl(student, teacher, mask)
    assert gap.item() == pytest.approx(cross(teacher, teacher, mask).item(), rel=1e-12)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("garbage", [1e6, float("inf"), float("nan")])
@pytest.mark.parametrize(
    ("family", "name"), [("attention", "cross_entropy"), ("scores", "cross_entropy"), ("scores", "mse")]
)
@pytest.mark.parametrize("heads", ["same", "mean"])
def test_padding_changes_neither_value_nor_gradient(family, name, garbage, number, heads):
    case = case_of(family, number)
    dead = torch.tensor(
        [[[[not valid_pairs(case.mask, b, q, k) for k in range(4)] for q in range(4)]] for b in range(4)]
    )
    found = []
    for fill in (0.0, garbage):
        student, teacher, mask = case.tensors()
        student, teacher = (x.masked_fill(dead, fill).requires_grad_() for x in (student, teacher))
        value = losses.get(name, family)(student, teacher, mask, heads=heads)
        value.backward()
        found.append((value.item(), student.grad))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    assert not found[0][1].masked_select(dead).any()
    assert found[0][1].any()


def test_all_keys_lets_padded_keys_into_the_softmax_and_nothing_else():
    """TextBrewer's: rows and the sum stay with the valid ones."""
    case = case_of("scores", 1)
    student, teacher, mask = case.tensors()
    entry = losses.get("cross_entropy", "scores")
    found = []
    for b, h, q in np.ndindex(*case.student.shape[:3]):
        if case.mask[b, q]:
            rows = softmax(case.teacher[b, h, q]) * log_softmax(case.student[b, h, q])
            found.append(-sum(rows * case.mask[b]))
    assert entry(student, teacher, mask, keys="all").item() == pytest.approx(np.mean(found), rel=1e-12)
    padded = torch.tensor(LENGTHS_MASK == 0)[:, None, :, None]
    same = entry(student.masked_fill(padded, float("nan")), teacher, mask, keys="all")
    assert same.item() == pytest.approx(np.mean(found), rel=1e-12)


@pytest.mark.parametrize("family", CASES)
def test_other_numbers_of_heads(family):
    case = case_of(family, 1)
    student, teacher, mask = case.tensors()
    doubled = teacher.repeat_interleave(2, dim=1)
    for name in ("mse", "cross_entropy"):
        entry = losses.get(name, family)
        assert check_shapes(entry, tuple(student.shape), tuple(doubled.shape), {"heads": "mean"}) == []
        due = entry(student, teacher, mask, heads="mean")
        assert entry(student, doubled, mask, heads="mean").item() == pytest.approx(due.item(), rel=1e-12)
        with pytest.raises(TextkdError, match='heads: "mean"'):
            entry(student, doubled, mask)


def test_tinybert_counts_padded_pairs_in_the_mean():
    """The same number from scores with the mask added and from ours without it, where padded queries are masked too."""
    student, teacher, mask = (x[LENGTHS_MASK.any(1)] for x in case_of("scores", 1).tensors())
    entry = losses.get("mse", "scores")
    valid = (mask[:, None, :, None] * mask[:, None, None, :]).bool()
    added = [x.masked_fill(~valid, -1e4) for x in (student, teacher)]
    due = entry(*added, zero_below=-100.0)
    assert entry(student, teacher, mask, pairs="all").item() == pytest.approx(due.item(), rel=1e-12)
    assert entry(student, teacher, mask).item() > due.item()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", CASES)
def test_half_precision_is_finite(family, dtype):
    student, teacher, mask = (x.to(dtype) if x.is_floating_point() else x for x in case_of(family, 1).tensors())
    student.requires_grad_()
    for name in ("mse", "cross_entropy"):
        value = losses.get(name, family)(student, teacher, mask, heads="mean")
        value.backward()
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert student.grad.isfinite().all()
