"""Overhaul: the partial distance counted element by element, its margins, and the connector's batch norm."""

import copy

import numpy as np
import pytest
import torch

from textkd import losses

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]])


def layers(count=2, seed=0):
    torch.manual_seed(seed)
    return [[torch.randn(3, 4, 5, dtype=torch.float64) for _ in range(count)] for _ in range(2)]


def build(count=2, **options):
    entry = losses.get("overhaul", "hidden")
    assert losses.check_options(entry, options) == []
    return entry.build([(3, 4, 5)] * count, [(3, 4, 5)] * count, options, 0).double()


def partial(s, t, margin, mask):
    """Sum over the valid elements, from the definition."""
    total = 0.0
    for b, i in np.argwhere(mask):
        for c in range(s.shape[-1]):
            target = max(t[b, i, c], margin[c])
            if not s[b, i, c] <= target <= 0:
                total += (s[b, i, c] - target) ** 2
    return total


def negatives(t, mask):
    rows = t[mask != 0]
    return np.array([np.mean(rows[rows[:, c] < 0, c]) for c in range(rows.shape[1])])


@pytest.mark.parametrize(("reduction", "items"), [("sum", 1), ("per_sample", 2), ("token_mean", 6), ("mean", 30)])
def test_value_with_the_margin_of_the_batch(reduction, items):
    student, teacher = layers()
    loss = build(margin="batch", batch_norm=False, reduction=reduction, earlier=0.25)
    mask = MASK.numpy()
    by_hand = [
        partial(s.numpy(), t.numpy(), negatives(t.numpy(), mask), mask) / items
        for s, t in zip(student, teacher, strict=True)
    ]
    assert loss(student, teacher, MASK).item() == pytest.approx(by_hand[0] / 4 + by_hand[1], rel=1e-6)


def test_the_running_margin_is_the_mean_of_all_negatives_seen_in_training():
    loss = build(1)
    batches = [layers(1, seed) for seed in range(4)]
    for student, teacher in batches:
        loss(student, teacher, MASK)
    rows = torch.cat([teacher[0] for _, teacher in batches]).numpy()
    expected = negatives(rows, MASK.repeat(4, 1).numpy())
    assert loss.margins[0].mean.numpy() == pytest.approx(expected, rel=1e-12)
    loss.eval()(*layers(1, 9), MASK)
    assert loss.margins[0].mean.numpy() == pytest.approx(expected, rel=1e-12)
    resumed = build(1)
    resumed.load_state_dict(loss.state_dict())
    assert resumed.eval()(*batches[0], MASK).item() == loss(*batches[0], MASK).item()


def test_a_dimension_without_negatives_has_the_margin_zero():
    student, teacher = layers(1)
    for margin in ("running", "batch"):
        loss = build(1, margin=margin, batch_norm=False)
        both = loss([student[0].abs()], [teacher[0].abs()])
        assert both.item() == pytest.approx((student[0].abs() - teacher[0].abs()).square().mean().item())


def test_the_norm_is_batch_norm_over_the_valid_positions():
    student, teacher = layers(1)
    loss = build(1, margin="batch", reduction="sum")
    loss.norms[0].weight.data.uniform_(0.5, 2)
    loss.norms[0].bias.data.normal_()
    ours = torch.nn.BatchNorm1d(5).double()
    ours.load_state_dict(loss.norms[0].state_dict(), strict=False)
    normed = torch.zeros_like(student[0])
    normed[MASK != 0] = ours(student[0][MASK != 0])
    plain = build(1, margin="batch", reduction="sum", batch_norm=False)
    assert loss(student, teacher, MASK).item() == pytest.approx(plain([normed], teacher, MASK).item(), rel=1e-12)


def test_one_position_alone_is_finite():
    student, teacher = (copy.deepcopy(x)[:1] for x in (layers(1)[0][0], layers(1)[1][0]))
    student.requires_grad_()
    build(1)([student], [teacher], torch.tensor([[1, 0, 0, 0]])).backward()
    assert student.grad.isfinite().all()
