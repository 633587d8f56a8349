"""Rankings of a batch against loops over queries and orders; the query's gradient; samples of pads, small batches."""

import itertools
import math

import numpy as np
import odd_batches
import pytest
import torch
from odd_batches import MASK, pair, run

from textkd import losses
from textkd.errors import TextkdError

NAMES = ["list_mle", "list_net", "score_mse"]


def get(name):
    entry = losses.get(name, "hidden")
    return lambda *taps, **options: entry(*taps, **options)


def score_table(x, alpha, power, norm):
    if norm:
        x = norm * x / np.linalg.norm(x, axis=1, keepdims=True)
    return [[-alpha * math.dist(a, b) ** power for b in x] for a in x]


def likelihood(scores, order):
    p = 1.0
    for i, first in enumerate(order):
        p *= math.exp(scores[first]) / sum(math.exp(scores[j]) for j in order[i:])
    return p


def reference(name, s, t, alpha, power, norm=0.0, length=0, eps=0.0, queries="all", reduction="mean"):
    scores_s, scores_t = score_table(s, alpha, power, norm), score_table(t, alpha, power, norm)
    found = []
    for q in range(len(s) // 2 if queries == "first_half" else len(s)):
        order = sorted((j for j in range(len(s)) if j != q), key=lambda j: -scores_t[q][j])[: length or None]
        if name == "list_mle":
            found.append(-math.log(likelihood(scores_s[q], order) + eps))
        elif name == "list_net":
            every = itertools.permutations(order)
            found.append(-sum(likelihood(scores_t[q], o) * math.log(likelihood(scores_s[q], o)) for o in every))
        else:
            found.append(sum((a - b) ** 2 for a, b in zip(scores_s[q], scores_t[q], strict=True)))
    return sum(found) / (1 if reduction == "sum" else len(found))


VARIANTS = [
    ("list_mle", {"alpha": 0.5, "power": 3.0, "length": 0, "norm": 0.0}),
    ("list_mle", {"alpha": 3.0, "power": 2.0, "length": 3, "norm": 1.0, "queries": "first_half"}),
    ("list_mle", {"alpha": 1.0, "power": 1.0, "length": 4, "norm": 2.0, "eps": 0.01}),
    ("list_net", {"alpha": 3.0, "power": 3.0, "length": 4, "norm": 1.0}),
    ("list_net", {"alpha": 0.1, "power": 2.0, "length": 2, "norm": 0.0, "queries": "first_half"}),
    ("score_mse", {"alpha": 0.3, "power": 2.0, "norm": 3.5}),
    ("score_mse", {"alpha": 0.1, "power": 1.0, "norm": 0.0, "queries": "first_half", "reduction": "sum"}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_value(name, options):
    s, t = pair(6, 4)[0], pair(6, 7, seed=1)[1]
    due = reference(name, s.detach().numpy(), t.numpy(), **options)
    assert get(name)(s, t, **options).item() == pytest.approx(due, rel=1e-9)


def test_pools_hidden_states():
    s, t = pair(4, 4, 5)
    mean = [(x * MASK[..., None]).sum(1) / MASK.sum(1, keepdim=True) for x in (s.detach(), t)]
    for pool, vectors in (("mean", mean), ("first", [x.detach()[:, 0] for x in (s, t)])):
        due = reference("list_mle", *(v.numpy() for v in vectors), alpha=3, power=3, norm=1.0, length=4)
        assert get("list_mle")(s, t, MASK, pool=pool).item() == pytest.approx(due, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_odd_batches(name):
    odd_batches.check_pads(get(name))
    odd_batches.check_half(get(name))
    s, t = pair(5, 3, 4)
    mask = torch.ones(5, 3)
    mask[1] = 0
    alone = [0, 2, 3, 4]
    assert get(name)(s, t, mask).item() == pytest.approx(get(name)(s[alone], t[alone]).item(), rel=1e-12)


@pytest.mark.parametrize(("name", "least"), [("list_mle", 3), ("list_net", 3), ("score_mse", 2)])
def test_a_batch_without_an_order_is_refused(name, least):
    assert losses.get(name, "hidden").min_rows == least
    assert get(name)(*pair(least, 4)) > 0
    with pytest.raises(TextkdError, match=f"{least - 1} samples"):
        get(name)(*pair(least - 1, 4))
    with pytest.raises(TextkdError, match="0 samples"):
        get(name)(*pair(4, 4, 5), torch.zeros(4, 4))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_equal_samples_have_a_finite_gradient(name, power):
    s, t = pair(5, 4)
    _, gradient = run(get(name), s.detach()[[0, 0, 1, 2, 2]], t, power=power)
    assert gradient.isfinite().all()
    _, gradient = run(get(name), torch.zeros_like(s), t, power=power)
    assert gradient.isfinite().all()


def test_long_rankings_do_not_underflow():
    s, t = pair(60, 4, dtype=torch.float32)
    value, gradient = run(get("list_mle"), s, t, length=0, alpha=5.0)
    assert math.isfinite(value)
    assert gradient.abs().max() > 1e-3
    faded, _ = run(get("list_mle"), s, t, length=0, alpha=5.0, eps=1e-12)  # the original's floor
    assert faded.item() == pytest.approx(-math.log(1e-12), rel=1e-4)


def test_the_query_held_fixed_is_darkranks_own_gradient():
    """Its hand-written formula: each document's share of the likelihood times the way from query to document."""
    s, t = pair(6, 3)
    x, y = s.detach().numpy(), t.numpy()
    due = np.zeros_like(x)
    for q in range(3):
        squares = ((x - x[q]) ** 2).sum(1)
        e = np.exp(-0.1 * squares)
        rank = np.argsort(((y - y[q]) ** 2).sum(1))[1:]
        for i, d in enumerate(rank):
            pull = sum(e[d] / e[rank[j:]].sum() for j in range(i + 1)) - 1
            due[d] += pull * -2 * 0.1 * (x[d] - x[q]) / 3
    options = {"alpha": 0.1, "power": 2.0, "length": 0, "norm": 0.0, "queries": "first_half"}
    _, gradient = run(get("list_mle"), s, t, query_gradient=False, **options)
    np.testing.assert_allclose(gradient.numpy(), due, rtol=1e-9, atol=1e-12)
    _, full = run(get("list_mle"), s, t, **options)
    assert (full - gradient).abs().max() > 0.01
    assert full.sum(0).abs().max() < 1e-12  # a shift of all samples changes no distance
