"""Peers, joint training, branches, exits and fusion: formulas in numpy, where gradients stop, state that survives."""

import copy
import math

import numpy as np
import odd_batches
import pytest
import torch
from odd_batches import MASK, classes, pair
from scipy.special import log_softmax, softmax
from torch.nn import functional as F

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses.logits.branches import MultiExit
from textkd.losses.logits.fusion import Fusion
from textkd.losses.logits.peers import apprentice, peer_kl, rocket

LABELS = classes(4, 4)
LABELS[0, 1] = -100
KNOWN = (MASK == 1) & (LABELS != -100)
JOINT = [("apprentice", {}), ("rocket", {})]


def get(name):
    entry = losses.get(name, "logits")
    return lambda *taps, **options: entry(*taps, **options)


def hard(z):
    """Mean cross entropy of the labels, row by row."""
    rows = zip(*np.nonzero(KNOWN.numpy()), strict=True)
    return np.mean([-log_softmax(z[i].detach().numpy())[LABELS[i]] for i in rows])


def per_row(function, *zs):
    return np.mean(
        [function(*(z[i].detach().numpy() for z in zs)) for i in zip(*np.nonzero(MASK.numpy()), strict=True)]
    )


def guarded(guard, eps, temperature=1.0):
    def row(z_s, z_t):
        p, q = softmax(z_t / temperature), softmax(z_s / temperature)
        if guard == "ratio":
            return p @ np.log(eps + p / (q + eps))
        target = p + (eps if guard else 0)
        return target @ (np.log(target) - np.log(q))

    return row


@pytest.mark.parametrize("guard", [None, "ratio", "target"])
def test_peer_kl(guard):
    s, t = pair(4, 4, 5)
    options = {"temperature": 2.0, "guard": guard, "eps": 0.03}
    due = 4 * per_row(guarded(guard, 0.03, 2.0), s, t)
    assert peer_kl(s, t, MASK, **options).item() == pytest.approx(due, rel=1e-12)
    odd_batches.check_pads(get("peer_kl"), **options)
    odd_batches.check_half(get("peer_kl"), **options)


def test_peer_kl_without_guard_is_kl():
    s, t = pair(4, 4, 5)
    for reduction in ("mean", "sum", "sequence_mean"):
        options = {"temperature": 3.0, "scale_by_t2": False, "reduction": reduction}
        assert peer_kl(s, t, MASK, **options) == losses.get("kl", "logits")(s, t, MASK, **options)


def test_a_peer_gets_a_gradient_only_if_asked():
    s, t = pair(4, 5)
    t.requires_grad_()
    assert torch.autograd.grad(peer_kl(s, t), t, allow_unused=True)[0] is None
    assert torch.autograd.grad(peer_kl(s, t, detach=False), t)[0].abs().max() > 0


@pytest.mark.parametrize(("name", "options"), JOINT)
def test_joint_losses_on_odd_batches(name, options):
    odd_batches.check_pads(get(name), labels=LABELS, **options)
    odd_batches.check_nothing_valid(get(name), labels=LABELS, **options)
    odd_batches.check_half(get(name), labels=classes(4), **options)


def test_apprentice():
    s, t = pair(4, 4, 5)
    soft = per_row(lambda z_s, z_t: -softmax(z_t / 2) @ log_softmax(z_s / 2), s, t)
    value = apprentice(s, t, MASK, labels=LABELS, alpha=0.7, beta=0.4, gamma=0.3, temperature=2.0)
    assert value.item() == pytest.approx(0.7 * hard(t) + 0.4 * hard(s) + 0.3 * soft, rel=1e-12)


@pytest.mark.parametrize("detach", [True, False])
def test_the_apprentices_teacher_learns_the_labels(detach):
    s, t = pair(6, 5)
    y = classes(6)
    t.requires_grad_()
    (gradient,) = torch.autograd.grad(apprentice(s, t, labels=y, alpha=0.7, detach=detach), t)
    (own,) = torch.autograd.grad(0.7 * F.cross_entropy(t, y), t)
    assert ((gradient - own).abs().max() < 1e-12) == detach


@pytest.mark.parametrize("block", [True, False])
def test_rocket(block):
    s, t = pair(4, 4, 5)
    t.requires_grad_()
    hint = per_row(lambda z_s, z_t: ((z_s - z_t) ** 2).sum(), s, t)
    value = rocket(s, t, MASK, labels=LABELS, gamma=0.1, block=block)
    assert value.item() == pytest.approx(hard(s) + hard(t) + 0.1 * hint, rel=1e-12)
    (gradient,) = torch.autograd.grad(value, t)
    (own,) = torch.autograd.grad(losses.get("cross_entropy", "labels")(t, LABELS, MASK), t)
    assert ((gradient - own).abs().max() < 1e-12) == block


def three(dtype=torch.float64):
    return [pair(4, 4, 5, seed=seed, dtype=dtype)[0] for seed in range(3)]


def test_one_is_labels_and_peer_kl_to_the_gated_ensemble():
    z = three()
    gate = torch.rand(4, 3, dtype=torch.float64).softmax(-1).requires_grad_()
    joint = torch.einsum("ib...,bi->b...", torch.stack(z), gate)
    labels, options = losses.get("cross_entropy", "labels"), {"guard": "target", "eps": 1e-3, "temperature": 3.0}
    value = sum(labels(x, LABELS, MASK) for x in [*z, joint])
    value = value + 0.4 * sum(peer_kl(branch, joint, MASK, **options) for branch in z)
    soft = sum(9 * per_row(guarded("target", 1e-3, 3.0), branch, joint) for branch in z)
    assert value.item() == pytest.approx(sum(hard(branch) for branch in [*z, joint]) + 0.4 * soft, rel=1e-12)
    # the gate learns from the labels alone
    (gradient,) = torch.autograd.grad(value, gate, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(labels(joint, LABELS, MASK), gate)[0])


def exits(**options):
    shapes = [(4, 4, 5)] * 3
    return losses.get("multi_exit", "logits").build(shapes, shapes, options, rows=9)


def test_multi_exit():
    z = three()
    *early, last = z
    soft = sum(4 * per_row(lambda a, b: -softmax(b / 2) @ log_softmax(a / 2), branch, last) for branch in early)
    value = exits(share=0.3, temperature=2.0)(z, [last], MASK, labels=LABELS)
    assert value.item() == pytest.approx(0.7 * sum(hard(branch) for branch in z) + 0.3 * soft, rel=1e-12)
    (gradient,) = torch.autograd.grad(value, last)
    (own,) = torch.autograd.grad(0.7 * losses.get("cross_entropy", "labels")(last, LABELS, MASK), last)
    torch.testing.assert_close(gradient, own)  # the last exit does not learn from the others


def test_multi_exit_warms_up_in_training_only_and_resumes():
    z = [10 * x.detach() for x in three(torch.float32)]  # a sure target
    loss = exits(temperature=2.0, growth=1.5)
    seen = []
    for _ in range(3):
        seen.append(loss.temperature(z[0]).item())
        loss(z, z, labels=LABELS)
    assert seen == pytest.approx([2.0, 3.0, 4.5])
    loss.eval()
    loss(z, z, labels=LABELS)
    assert loss.temperature(z[0]).item() == pytest.approx(6.75)
    resumed = exits(temperature=2.0, growth=1.5)
    resumed.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert resumed.half().temperature(z[0]).item() == pytest.approx(6.75)
    assert "growth=1.5" in repr(loss)
    assert "raises=3" in repr(loss)


def test_multi_exit_stops_where_the_target_is_soft_enough():
    z = [x.detach() for x in three()]
    loss = exits(growth=2.0, maxprob=0.3)
    for _ in range(9):
        loss(z, z, MASK, labels=LABELS)
    t = loss.temperature(z[0])
    sure = per_row(lambda row: softmax(row / t.item()).max(), z[-1])
    before = per_row(lambda row: softmax(row / (t.item() / 2)).max(), z[-1])
    assert sure <= 0.3 < before


def test_multi_exit_on_odd_batches():
    z = [x.detach() for x in three()]
    loss = exits(growth=1.0)
    due = loss(z, z, MASK, labels=LABELS)
    dead = (MASK == 0)[..., None]
    spoilt = [x.masked_fill(dead, math.nan).requires_grad_() for x in z]
    value = loss(spoilt, spoilt, MASK, labels=LABELS)
    assert value == due
    for gradient in torch.autograd.grad(value, spoilt):
        assert gradient.isfinite().all()
        assert (gradient[dead.expand(gradient.shape)] == 0).all()
    half = [x.half() for x in z]
    assert exits()(half, half, MASK, labels=LABELS).dtype == torch.float32
    with pytest.raises(TextkdError, match="two exits or more"):
        MultiExit([(4, 5)], [(4, 5)])


@pytest.mark.parametrize("training", [True, False])
def test_fusion_does_not_see_pads(training):
    torch.manual_seed(0)
    fusion = Fusion(4, 3).double().train(training)
    x, y = (torch.randn(2, 5, 4, dtype=torch.float64) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]])
    due = copy.deepcopy(fusion)(x[:, :3], y[:, :3])
    spoilt = [z.masked_fill((mask == 0)[..., None], math.nan).requires_grad_() for z in (x, y)]
    value = fusion(*spoilt, mask)
    torch.testing.assert_close(value, due)
    for gradient in torch.autograd.grad(value.square().sum(), spoilt):
        assert gradient.isfinite().all()
        assert (gradient[mask == 0] == 0).all()
    assert fusion.mix_norm.running_mean.isfinite().all()


def test_fusion_of_a_grid_sees_neighbours_above_and_below():
    torch.manual_seed(0)
    x, y = (torch.randn(2, 6, 4) for _ in range(2))
    grid, line = Fusion(4, 3, grid=(2, 3)), Fusion(4, 3)
    assert grid.mix.weight.shape[-2:] == (3, 3)
    assert line.mix.weight.shape[-2:] == (1, 3)
    assert grid(x, y).shape == line(x, y).shape == (2, 3)
    with pytest.raises(TextkdError, match="two maps of one shape"):
        grid(x[:, :5], y[:, :5])
    with pytest.raises(TextkdError, match="two maps of one shape"):
        line(x, y[:, :5])
