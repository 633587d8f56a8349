"""Relations between the samples of a batch: by their definition in numpy, at padding, in batches that say little."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses.relations.parts import squared_distances, unit

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
SAMPLES = {
    "sp": [{}, {"pool": "flat"}, {"pool": "tokens"}, {"row_norm": "l1"}, {"reduction": "sum"}, {"pool": "first"}],
    "cc": [{}, {"kernel": "bilinear"}, {"distance": "frobenius"}, {"normalise": False}, {"order": 3, "gamma": 0.2}],
    "cc_neighbours": [{}],
    "pkt": [{}, {"pool": "first"}, {"eps": 1e-3}],
    "rkd_distance": [{}, {"squared": True}, {"scale": "max", "error": "mse"}, {"pool": "flat"}],
    "rkd_angle": [{}, {"heads": 2}, {"chunk": 2}],
    "mmd": [{}, {"estimate": "neighbours"}, {"kernels": 3, "factor": 3.0}],
    "coral": [{}, {"pool": "tokens"}, {"centre": "features"}, {"scatter": True}],
    "cka": [{}, {"pool": "tokens"}],
}
EVERY = [(name, options) for name, variants in SAMPLES.items() for options in variants]


def loss(name):
    return losses.get(name, "hidden")


def taps(*shape, width=6, seed=0):
    """Student [..., 4] (or `width`) and teacher [..., width]."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, w, dtype=torch.float64, generator=generator) for w in (width, width))


def value_and_gradient(name, student, teacher, mask, options):
    student = student.detach().requires_grad_()
    value = loss(name)(student, teacher, mask, **options)
    return value.detach(), torch.autograd.grad(value, student)[0]


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_sample_without_a_position_is_as_if_it_were_not_there(name, options):
    student, teacher = taps(4, 4)
    value, gradient = value_and_gradient(name, student, teacher, MASK, options)
    more = [torch.cat([x[:2], torch.full_like(x[:1], math.nan), x[2:]]) for x in (student, teacher)]
    mask = torch.cat([MASK[:2], torch.zeros_like(MASK[:1]), MASK[2:]])
    with_empty, its_gradient = value_and_gradient(name, *more, mask, options)
    assert value != 0
    assert with_empty.item() == pytest.approx(value.item(), rel=1e-9)
    torch.testing.assert_close(its_gradient[[0, 1, 3, 4]], gradient)
    assert not its_gradient[2].any()


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_equal_samples_and_an_empty_batch_give_finite_numbers(name, options):
    student, teacher = taps(4, 4)
    for own, mask in ((student[:1].expand(4, -1, -1), None), (torch.zeros_like(student), MASK), (student, MASK * 0)):
        value, gradient = value_and_gradient(name, own, teacher, mask, options)
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e6


def pooled(x, mask):
    return np.stack([row[keep != 0].mean(0) for row, keep in zip(x.numpy(), mask.numpy(), strict=True)])


@pytest.fixture
def vectors():
    student, teacher = taps(4, 4)
    return student, teacher, pooled(student, MASK), pooled(teacher, MASK)


def huber(a, b):
    d = abs(a - b)
    return d * d / 2 if d < 1 else d - 0.5


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b) if a.any() and b.any() else 0.0


def test_sp_by_its_definition(vectors):
    student, teacher, s, t = vectors
    g_s, g_t = ((x @ x.T) / np.linalg.norm(x @ x.T, axis=1, keepdims=True) for x in (s, t))
    assert loss("sp")(student, teacher, MASK).item() == pytest.approx(((g_s - g_t) ** 2).sum() / 16)


def test_sp_of_tokens_compares_within_each_sample():
    student, teacher = taps(4, 4)
    squares, pairs = 0.0, 0
    for s, t, keep in zip(student.numpy(), teacher.numpy(), MASK.numpy(), strict=True):
        g_s, g_t = (x[keep != 0] @ x[keep != 0].T for x in (s, t))
        g_s, g_t = (g / np.linalg.norm(g, axis=1, keepdims=True) for g in (g_s, g_t))
        squares, pairs = squares + ((g_s - g_t) ** 2).sum(), pairs + g_s.size
    assert loss("sp")(student, teacher, MASK, pool="tokens").item() == pytest.approx(squares / pairs)


def test_a_long_taylor_series_is_the_gaussian_kernel_of_unit_vectors(vectors):
    student, teacher, s, t = vectors
    kernels = []
    for x in (s, t):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        kernels.append(np.exp(-0.4 * ((x[:, None] - x[None]) ** 2).sum(-1)))
    due = ((kernels[0] - kernels[1]) ** 2).mean()
    assert loss("cc")(student, teacher, MASK, order=25).item() == pytest.approx(due)
    assert loss("cc")(student, teacher, MASK).item() != pytest.approx(due, rel=1e-3)


def test_neighbours_depend_on_the_order_of_the_batch(vectors):
    student, teacher, s, t = vectors
    apart = abs(s - t)
    due = np.mean([apart[i] @ apart[i + 1] for i in range(3)])
    assert loss("cc_neighbours")(student, teacher, MASK).item() == pytest.approx(due)


def test_pkt_by_its_definition(vectors):
    student, teacher, s, t = vectors
    rows = []
    for x in (s, t):
        closeness = np.array([[(cosine(a, b) + 1) / 2 for b in x] for a in x])
        rows.append(closeness / closeness.sum(1, keepdims=True))
    due = (rows[1] * np.log(rows[1] / rows[0])).mean()
    assert loss("pkt")(student, teacher, MASK, eps=1e-13).item() == pytest.approx(due, rel=1e-6)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("scale", ["mean", "max"])
def test_distances_by_their_definition(vectors, squared, scale):
    student, teacher, s, t = vectors
    tables = []
    for x in (s, t):
        d = np.array([[np.linalg.norm(a - b) for b in x] for a in x]) ** (2 if squared else 1)
        tables.append(d / (d.max() if scale == "max" else d.sum() / 12))
    options = {"squared": squared, "scale": scale}
    due = np.mean([huber(a, b) for a, b in zip(*(d.ravel() for d in tables), strict=True)])
    assert loss("rkd_distance")(student, teacher, MASK, **options).item() == pytest.approx(due)
    due = ((tables[0] - tables[1]) ** 2).mean()
    assert loss("rkd_distance")(student, teacher, MASK, error="mse", **options).item() == pytest.approx(due)


def test_angles_by_their_definition(vectors):
    student, teacher, s, t = vectors
    angles = [[cosine(x[j] - x[i], x[k] - x[i]) for i, j, k in product(range(4), repeat=3)] for x in (s, t)]
    due = np.mean([huber(a, b) for a, b in zip(*angles, strict=True)])
    assert loss("rkd_angle")(student, teacher, MASK).item() == pytest.approx(due)


def test_angles_of_heads_are_those_of_the_parts(vectors):
    student, teacher = vectors[:2]
    parts = [loss("rkd_angle")(student[..., at], teacher[..., at], MASK) for at in (slice(0, 3), slice(3, 6))]
    assert loss("rkd_angle")(student, teacher, MASK, heads=2).item() == pytest.approx(sum(parts).item() / 2)
    with pytest.raises(TextkdError, match="no multiple"):
        loss("rkd_angle")(student, teacher, MASK, heads=4)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunks_of_corners_change_nothing(vectors, chunk):
    student, teacher = vectors[:2]
    whole = value_and_gradient("rkd_angle", student, teacher, MASK, {})
    cut = value_and_gradient("rkd_angle", student, teacher, MASK, {"chunk": chunk})
    torch.testing.assert_close(cut, whole)


def test_distances_keep_small_differences_of_large_vectors():
    x = 1000 + torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        squared_distances(x), torch.cdist(x.double(), x.double()).square().float(), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("estimate", ["all", "neighbours"])
def test_mmd_by_its_definition(vectors, estimate):
    student, teacher, s, t = vectors
    both = np.concatenate([s, t])
    d = ((both[:, None] - both[None]) ** 2).sum(-1)
    k = sum(np.exp(-d / (d.sum() / 56 / 2 * 2**m)) for m in range(3))
    pairs = list(product(range(4), repeat=2)) if estimate == "all" else [(i, (i + 1) % 4) for i in range(4)]
    due = np.mean([k[i, j] + k[i + 4, j + 4] - k[i, j + 4] - k[i + 4, j] for i, j in pairs])
    assert loss("mmd")(student, teacher, MASK, kernels=3, estimate=estimate).item() == pytest.approx(due)


def test_mmd_and_coral_compare_clouds_not_samples(vectors):
    student = vectors[0]
    for name in ("mmd", "coral"):
        assert loss(name)(student, student[[2, 0, 3, 1]]).item() == pytest.approx(0.0, abs=1e-10)
        assert loss(name)(student, 2 * student).item() > 0.01


def test_coral_by_its_definition(vectors):
    student, teacher, s, t = vectors
    due = ((np.cov(s.T) - np.cov(t.T)) ** 2).sum() / (4 * 36)
    assert loss("coral")(student, teacher, MASK).item() == pytest.approx(due)
    s, t = (x.numpy()[MASK.numpy() != 0] for x in (student, teacher))
    due = ((np.cov(s.T) - np.cov(t.T)) ** 2).sum() / (4 * 36)
    assert loss("coral")(student, teacher, MASK, pool="tokens").item() == pytest.approx(due)


def cka(s, t):
    k_s, k_t = ((x - x.mean(0)) @ (x - x.mean(0)).T for x in (s, t))
    return (k_s * k_t).sum() / math.sqrt((k_s * k_s).sum() * (k_t * k_t).sum())


@pytest.mark.parametrize("width", [2, 6])  # fewer and more dimensions than points
def test_cka_by_its_definition(width):
    student, teacher = taps(4, 4, width=width)
    due = 1 - cka(pooled(student, MASK), pooled(teacher, MASK))
    assert loss("cka")(student, teacher, MASK).item() == pytest.approx(due)
    due = 1 - cka(*(x.numpy()[MASK.numpy() != 0] for x in (student, teacher)))
    assert loss("cka")(student, teacher, MASK, pool="tokens").item() == pytest.approx(due)


def test_cka_does_not_see_turning_scaling_and_moving():
    student, _ = taps(8, width=4)
    turned = student @ torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    assert loss("cka")(student, 3 * turned + 5).item() == pytest.approx(0.0, abs=1e-12)
    assert loss("cka")(student, student.pow(3)).item() > 0.01


@pytest.mark.parametrize("name", [name for name in SAMPLES if losses.get(name, "hidden").any_width])
def test_widths_may_differ(name):
    student, teacher = taps(4, 4)
    assert loss(name)(student[..., :4], teacher, MASK).item() > 0


@pytest.mark.parametrize("name", ["mmd", "coral", "cc_neighbours"])
def test_one_width_is_asked_for(name):
    student, teacher = taps(4, 4)
    assert not loss(name).any_width
    with pytest.raises(TextkdError, match="one shape"):
        loss(name)(student[..., :4], teacher, MASK)


@pytest.mark.parametrize("name", list(SAMPLES))
def test_too_few_samples_are_refused(name):
    student, teacher = taps(loss(name).min_rows - 1, 4)
    with pytest.raises(TextkdError, match="samples or more"):
        loss(name)(student, teacher)


def test_other_samples_are_refused():
    student, teacher = taps(4, 4)
    with pytest.raises(TextkdError, match="same samples and tokens"):
        loss("sp")(student[:3], teacher)


def test_no_direction_is_a_zero_without_gradient():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    found = unit(x)
    assert found.tolist() == [[0.0, 0.0], [pytest.approx(0.6), pytest.approx(0.8)]]
    (gradient,) = torch.autograd.grad((found * torch.tensor([1.0, 2.0])).sum(), x)
    assert gradient[0].tolist() == [0.0, 0.0]
    assert gradient[1].abs().sum() > 0
