"""Losses on gradients: independent formulas, padding, zeros. The taps themselves: tests/taps/test_taps_gradients.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_references import LENGTHS_MASK

from textkd import losses
from textkd.errors import TextkdError

NAMES = ["gradient_attention", "sobolev"]
WEIGHTED = ["hidden", "gradient"]


def tensors(*shapes):
    rng = np.random.default_rng(2)
    return [rng.normal(size=shape) for shape in shapes]


def rows(x):
    """The valid positions of each sample that has any."""
    return [x[b][LENGTHS_MASK[b] == 1] for b in range(len(x)) if LENGTHS_MASK[b].any()]


def unit(x):
    return x / max(np.sqrt((x**2).sum()), 1e-12)


def plain(name, s, t):
    pairs = list(zip(rows(s), rows(t), strict=True))
    if name == "gradient_attention":
        return 0.5 * np.mean([((a - b) ** 2).sum() for a, b in pairs])
    return np.mean(np.concatenate([(unit(a) - unit(b)) ** 2 for a, b in pairs]))


def plain_lwm(student, teacher, weighted):
    sides = []
    for hidden, gradient in (student, teacher):
        taps = zip(rows(hidden), rows(gradient), strict=True)
        sides.append([unit(np.maximum((h if weighted == "hidden" else g) @ g.mean(0), 0)) for h, g in taps])
    return np.mean(np.concatenate([abs(a - b) for a, b in zip(*sides, strict=True)]))


@pytest.mark.parametrize("name", NAMES)
def test_value_without_padding(name):
    s, t = tensors((4, 4, 5), (4, 4, 5))
    mask = torch.tensor(LENGTHS_MASK)
    found, both = [], (torch.tensor(s), torch.tensor(t))
    for fill in (0.0, float("nan"), float("inf")):
        student, teacher = (x.masked_fill(mask[..., None] == 0, fill).requires_grad_() for x in both)
        value = losses.get(name, "hidden")(student, teacher, mask)
        value.backward()
        assert value.item() == pytest.approx(plain(name, s, t), rel=1e-12)
        found.append(student.grad)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert found[0].any()
    assert not found[0][mask == 0].any()


def test_vectors_of_samples():
    s, t = map(torch.tensor, tensors((4, 5), (4, 5)))
    assert losses.get("gradient_attention", "hidden")(s, t).item() == pytest.approx((s - t).square().sum().item() / 8)
    due = (s / s.norm(dim=1, keepdim=True) - t / t.norm(dim=1, keepdim=True)).square().mean()
    assert losses.get("sobolev", "hidden")(s, t).item() == pytest.approx(due.item())


@pytest.mark.parametrize("weighted", WEIGHTED)
def test_lwm(weighted):
    given = tensors((4, 4, 5), (4, 4, 5), (4, 4, 7), (4, 4, 7))  # the teacher is wider
    mask, found = torch.tensor(LENGTHS_MASK), []
    for fill in (0.0, float("nan"), float("inf")):
        taps = [torch.tensor(x).masked_fill(mask[..., None] == 0, fill).requires_grad_() for x in given]
        value = losses.get("lwm", "hidden")(taps[:2], taps[2:], mask, weighted=weighted)
        value.backward()
        assert value.item() == pytest.approx(plain_lwm(given[:2], given[2:], weighted), rel=1e-12)
        found.append(taps[1].grad)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert found[0].any()


def test_zeros_give_a_finite_gradient():
    for name in NAMES:
        student = torch.zeros(2, 3, 5, requires_grad=True)
        losses.get(name, "hidden")(student, torch.ones(2, 3, 5)).backward()
        assert student.grad.isfinite().all()
    hidden, gradient = torch.zeros(2, 2, 3, 5, requires_grad=True)
    hidden.retain_grad()
    losses.get("lwm", "hidden")([hidden, gradient], [torch.ones(2, 3, 5)] * 2).backward()
    assert hidden.grad.isfinite().all()


@pytest.mark.parametrize("taps", [[torch.randn(2, 3, 5)], [torch.randn(2, 5), torch.randn(2, 5)]])
def test_maps_need_both_taps_with_positions(taps):
    with pytest.raises(TextkdError, match=r"\[hidden, gradient\]"):
        losses.get("lwm", "hidden")(taps, taps)


@pytest.mark.parametrize("name", NAMES)
def test_other_widths_are_refused(name):
    with pytest.raises(TextkdError, match="one shape"):
        losses.get(name, "hidden")(torch.randn(2, 3, 5), torch.randn(2, 3, 7))
