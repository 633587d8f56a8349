"""Targets, temperatures, born-again, tolerant and detection losses against formulas in numpy, row by row."""

import math

import numpy as np
import odd_batches
import pytest
import torch
from odd_batches import MASK, classes, pair
from scipy.special import log_softmax, softmax

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses.logits.born_again import permute_all_but_largest
from textkd.losses.logits.targets import annealed_targets, mixed_targets, probability_shift, shifted_targets
from textkd.losses.logits.temperatures import kl_dynamic, row_temperatures

LABELS = torch.where(torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]) == 1, -100, classes(4, 4))
WITH_LABELS = {
    "mixed_targets": {"temperature": 2.0},
    "shifted_targets": {},
    "confidence_weighted": {},
}
WITHOUT = {
    "annealed_targets": {"progress": 0.3},
    "kl_dynamic": {"temperature": 3.0},
    "weighted_soft_cross_entropy": {"background": 1},
}


def rows(s, t, y):
    """(student, teacher, label or None) of each valid row of LABELS and MASK."""
    for i in zip(*np.nonzero(MASK.numpy()), strict=True):
        yield s[i].detach().numpy(), t[i].numpy(), None if y[i] == -100 else int(y[i])


def get(name):
    entry = losses.get(name, "logits")
    return lambda *taps, **options: entry(*taps, **options)


@pytest.mark.parametrize("name", [*WITH_LABELS, *WITHOUT])
def test_odd_batches(name):
    options = {**WITH_LABELS, **WITHOUT}[name]
    sequence = {"labels": LABELS} if name in WITH_LABELS else {}
    single = {"labels": classes(4)} if name in WITH_LABELS else {}
    odd_batches.check_pads(get(name), **options, **sequence)
    odd_batches.check_nothing_valid(get(name), **options, **sequence)
    odd_batches.check_half(get(name), **options, **single)


@pytest.mark.parametrize("name", WITH_LABELS)
def test_labels_under_the_mask_and_of_another_shape(name):
    s, t = pair(4, 4, 5)
    options = WITH_LABELS[name]
    value = get(name)(s, t, MASK, labels=LABELS, **options)
    assert get(name)(s, t, MASK, labels=LABELS.masked_fill(MASK == 0, 999), **options) == value
    for wrong in (LABELS[:, :2], LABELS.float()):
        with pytest.raises(TextkdError, match="class ids as labels"):
            get(name)(s, t, MASK, labels=wrong, **options)


def test_mixed_targets():
    s, t = pair(4, 4, 5)
    found = []
    for z_s, z_t, y in rows(s, t, LABELS):
        target = 0.6 * softmax(z_t / 3)
        if y is not None:
            target[y] += 0.3
        found.append(-target @ log_softmax(z_s / 3))
    value = mixed_targets(s, t, MASK, labels=LABELS, hard=0.3, soft=0.6, temperature=3.0)
    assert value.item() == pytest.approx(np.mean(found), rel=1e-12)


def test_mixed_targets_are_mixed_losses_at_temperature_1_only():
    s, t = pair(6, 5)
    y = classes(6)
    hard, soft = losses.get("cross_entropy", "labels")(s, y), losses.get("soft_cross_entropy", "logits")
    one = mixed_targets(s, t, labels=y, hard=0.2, soft=0.8)
    assert one.item() == pytest.approx((0.2 * hard + 0.8 * soft(s, t)).item(), rel=1e-12)
    four = mixed_targets(s, t, labels=y, hard=0.2, soft=0.8, temperature=4.0)
    assert abs(four - (0.2 * hard + 0.8 * soft(s, t, temperature=4.0))) > 0.1


@pytest.mark.parametrize("name", ["kl", "soft_cross_entropy", "mse"])
def test_shifted_targets(name):
    s, t = pair(4, 4, 5)
    shifted = t.clone()
    for i in np.ndindex(4, 4):
        y, largest = LABELS[i], t[i].argmax()
        if y != -100:
            shifted[i][y], shifted[i][largest] = t[i][largest], t[i][y]
    options = {} if name == "mse" else {"temperature": 2.0, "scale_by_t2": False}
    due = losses.get(name, "logits")(s, shifted, MASK, **options)
    value = shifted_targets(s, t, MASK, labels=LABELS, loss=name, **options)
    assert value.item() == pytest.approx(due.item(), rel=1e-12)


def test_a_shift_makes_the_label_the_largest_and_changes_no_argument():
    _, t = pair(50, 5)
    y, before = classes(50), t.clone()
    y[:7] = -100
    shifted = probability_shift(t, y)
    assert torch.equal(t, before)
    assert torch.equal(shifted.argmax(-1)[7:], y[7:])
    assert torch.equal(shifted[:7], t[:7])
    assert torch.equal(shifted.sort(-1).values, t.sort(-1).values)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.25), (0.24, 0.25), (0.25, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_annealed_targets(progress, share):
    s, t = pair(6, 5)
    due = np.mean((s.detach().numpy() - share * t.numpy()) ** 2)
    assert annealed_targets(s, t, progress=progress, steps=4).item() == pytest.approx(due, rel=1e-12)


def test_a_probability_of_one_class_is_refused():
    with pytest.raises(TextkdError, match="always 1"):
        annealed_targets(*pair(4, 1), progress=0.5, loss="kl")


@pytest.mark.parametrize("rule", ["flsw", "cwsm"])
@pytest.mark.parametrize("name", ["kl", "soft_cross_entropy", "mse"])
def test_kl_dynamic(rule, name):
    s, t = pair(4, 4, 5)
    every = list(rows(s, t, LABELS))
    if rule == "flsw":
        norms = [(z_s, z_t, np.linalg.norm(z_s) + 1e-4, np.linalg.norm(z_t) + 1e-4) for z_s, z_t, _ in every]
        w = [(1 - (z_s / n_s) @ (z_t / n_t)) ** 1.5 for z_s, z_t, n_s, n_t in norms]
    else:
        w = [1 / (softmax(z_s).max() + 1e-3) for z_s, _, _ in every]
    found = []
    for (z_s, z_t, _), weight in zip(every, w, strict=True):
        tau = max(2.0 + 0.9 * (np.mean(w) - weight), 1.5)
        p, log_q = softmax(z_t / tau), log_softmax(z_s / tau)
        row = {
            "kl": p @ (np.log(p) - log_q),
            "soft_cross_entropy": -p @ log_q,
            "mse": np.mean((z_s - z_t) ** 2) / tau**2,
        }
        found.append(tau**2 * row[name])
    options = {"rule": rule, "temperature": 2.0, "beta": 0.9, "gamma": 1.5, "floor": 1.5, "loss": name}
    value = kl_dynamic(s, t, MASK, scale_by_t2=True, **options)
    assert value.item() == pytest.approx(np.mean(found), rel=1e-12)


def test_rows_keep_a_mean_temperature_and_carry_no_gradient():
    s, t = pair(4, 4, 5)
    tau = row_temperatures(s, t, MASK, temperature=5.0)
    assert tau[MASK == 1].mean().item() == pytest.approx(5.0, rel=1e-12)
    assert not tau.requires_grad
    assert kl_dynamic(s.detach() * 0, t, beta=100.0).isfinite()  # would be below 0 without the floor


def test_confidence_weighted():
    s, t = pair(4, 4, 5)
    known = [row for row in rows(s, t, LABELS) if row[2] is not None]
    w = [softmax(z_t / 2).max() for _, z_t, _ in known]
    due = sum(-x * log_softmax(z_s)[y] for x, (z_s, _, y) in zip(w, known, strict=True)) / sum(w)
    value = losses.get("confidence_weighted", "logits")(s, t, MASK, labels=LABELS, temperature=2.0)
    assert value.item() == pytest.approx(due, rel=1e-12)


def test_a_permutation_keeps_the_largest_and_shuffles_the_rest():
    torch.manual_seed(0)
    p = torch.rand(4000, 4)
    permuted = permute_all_but_largest(p)
    largest = p.argmax(-1)
    assert torch.equal(permuted.argmax(-1), largest)
    assert torch.equal(permuted.sort(-1).values, p.sort(-1).values)
    kept = (permuted == p).float().sum(-1) - 1
    assert kept.mean().item() == pytest.approx(1.0, abs=0.1)  # of a random order one is in its place on average
    assert {int(n) for n in kept.unique()} == {0, 1, 3}


def test_permuted_soft_cross_entropy():
    s, t = pair(4, 4, 5)
    torch.manual_seed(3)
    value = losses.get("permuted_soft_cross_entropy", "logits")(s, t, MASK, temperature=2.0)
    torch.manual_seed(3)
    target = permute_all_but_largest((t.masked_fill(MASK[..., None] == 0, 0.0) / 2).softmax(-1)).numpy()
    found = [-target[i] @ log_softmax(s[i].detach().numpy() / 2) for i in zip(*np.nonzero(MASK.numpy()), strict=True)]
    assert value.item() == pytest.approx(4 * np.mean(found), rel=1e-12)
    two, whole = pair(6, 2), losses.get("soft_cross_entropy", "logits")
    entry = losses.get("permuted_soft_cross_entropy", "logits")
    assert entry(*two).item() == pytest.approx(whole(*two).item())  # of two classes there is nothing to permute


@pytest.mark.parametrize("scores", ["probabilities", "logits"])
@pytest.mark.parametrize("top", [2, 4, 9])
def test_top_score_difference(scores, top):
    s, t = pair(4, 4, 5)
    found = []
    for z, _, y in rows(s, t, LABELS):
        if y is not None:
            f = np.sort(softmax(z) if scores == "probabilities" else z)[::-1][:top]
            found.append(f[0] - np.mean(f[1:]))
    loss = losses.get("top_score_difference", "labels")
    assert loss(s, LABELS, MASK, top=top, scores=scores).item() == pytest.approx(np.mean(found), rel=1e-12)
    spoilt = s.detach().masked_fill((MASK == 0)[..., None], math.nan).requires_grad_()
    value = loss(spoilt, LABELS, MASK, top=top, scores=scores)
    value.backward()
    assert value.item() == pytest.approx(np.mean(found), rel=1e-12)
    assert spoilt.grad.isfinite().all()


def test_weighted_soft_cross_entropy():
    s, t = pair(4, 4, 5)
    loss = losses.get("weighted_soft_cross_entropy", "logits")
    w = np.array([1, 1, 0.5, 1, 1])
    due = np.mean([-(w * softmax(z_t / 2)) @ log_softmax(z_s / 2) for z_s, z_t, _ in rows(s, t, LABELS)])
    one = loss(s, t, MASK, background=2, background_weight=0.5, temperature=2.0, scale_by_t2=False)
    assert one.item() == pytest.approx(due, rel=1e-12)
    assert loss(s, t, MASK, class_weights=list(w), temperature=2.0).item() == pytest.approx(4 * due, rel=1e-12)
    with pytest.raises(TextkdError, match="5 classes"):
        loss(s, t, MASK, class_weights=[1.0, 2.0])
    with pytest.raises(TextkdError, match="from 0 to 4"):
        loss(s, t, MASK, background=5)


@pytest.mark.parametrize("bound", ["number", "row"])
@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_bounded_mse(bound, margin):
    s, t = pair(40, 3)
    truth = torch.randn(40, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    mask = torch.arange(40) % 5 != 0
    found = []
    for i in np.nonzero(mask.numpy())[0]:
        e_s, e_t = ((x[i].detach().numpy() - truth[i].numpy()) ** 2 for x in (s, t))
        for k in range(3):
            worse = e_s[k] + margin > e_t[k] if bound == "number" else e_s.sum() + margin > e_t.sum()
            found.append(e_s[k] if worse else 0.0)
    assert 0 < np.count_nonzero(found) < len(found)
    loss = losses.get("bounded_mse", "logits")
    spoilt = [x.detach().masked_fill(~mask[:, None], math.nan).requires_grad_() for x in (s, t, truth)]
    value = loss(spoilt[0], spoilt[1], mask, labels=spoilt[2].detach(), margin=margin, bound=bound)
    assert value.item() == pytest.approx(np.mean(found), rel=1e-12)
    value.backward()
    due = 2 * (s - truth).detach() * torch.tensor(0.0)
    for n, i in enumerate(np.nonzero(mask.numpy())[0]):
        alive = torch.tensor(found[3 * n : 3 * n + 3]) > 0
        due[i] = torch.where(alive, 2 * (s[i].detach() - truth[i]) / len(found), 0.0)
    torch.testing.assert_close(spoilt[0].grad, due)
    assert spoilt[1].grad is None  # the teacher is a bound


def test_bounded_mse_of_one_number_and_of_other_shapes():
    s, t = pair(6, 1)
    loss = losses.get("bounded_mse", "logits")
    assert loss(s, s.detach(), labels=t[:, 0]) == 0  # not better than the teacher, not worse
    assert loss(s, s.detach(), labels=t[:, 0], margin=1e-9).item() == pytest.approx((s - t).square().mean().item())
    with pytest.raises(TextkdError, match="numbers as labels"):
        loss(*pair(6, 3), labels=t[:, 0])
