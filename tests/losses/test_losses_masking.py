"""Masked means by hand-counted numbers."""

import pytest
import torch

from textkd.errors import TextkdError
from textkd.losses import masking

X = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]], [[9.0, 9.0], [9.0, 9.0]]])
MASK = torch.tensor([[1, 1], [1, 0], [0, 0]])


def test_masked_mean_weighs_every_position_the_same():
    assert masking.masked_mean(X, MASK).item() == pytest.approx((1 + 2 + 3 + 4 + 5 + 6) / 6)
    assert masking.masked_sum(X, MASK).item() == 21
    assert masking.masked_mean(X, None).item() == pytest.approx(X.mean().item())


def test_sample_means_weigh_every_sample_the_same():
    means = masking.sample_means(X, MASK)
    assert means.tolist() == [2.5, 5.5, 0.0]
    assert masking.mean_of_samples(means, MASK).item() == 4.0
    assert masking.sample_means(X, None).tolist() == [2.5, 6.5, 9.0]
    assert masking.mean_of_samples(means, None).item() == pytest.approx(8 / 3)
    assert masking.sample_means(X[:, 0, 0], MASK[:, 0]).tolist() == [1.0, 5.0, 0.0]


def test_a_broadcast_axis_is_counted_as_often_as_it_is_used():
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    mask = torch.tensor([[[[1, 0], [0, 0]]]])
    assert masking.masked_mean(x, mask).item() == (0 + 4) / 2
    assert masking.count(x, mask).item() == 2


def test_nothing_valid_gives_zero():
    zero = torch.zeros_like(MASK)
    assert masking.masked_mean(X, zero).item() == 0
    assert masking.mean_of_samples(masking.sample_means(X, zero), zero).item() == 0
    assert masking.masked_mean(X[:0], MASK[:0]).item() == 0
    assert masking.masked_mean(X[:0], None).item() == 0
    assert masking.sample_means(X[:0], MASK[:0]).shape == (0,)


def test_pair_mask():
    pairs = masking.pair_mask(torch.tensor([[1, 1, 0]]))
    assert pairs.int().tolist() == [[[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]]
    assert masking.pair_mask(torch.ones(2, 3, 5)).shape == (2, 1, 3, 5)
    assert masking.pair_mask(torch.ones(2, 4, 3, 5)).shape == (2, 4, 3, 5)
    assert masking.pair_mask(None) is None
    with pytest.raises(TextkdError, match="a mask for attention"):
        masking.pair_mask(torch.ones(3))


def test_widths_of_numbers():
    assert masking.widen(torch.zeros(1, dtype=torch.float16)).dtype == torch.float32
    assert masking.widen(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert masking.widen(torch.zeros(1, dtype=torch.long)).dtype == torch.long
    one, other = masking.aligned(torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.float64))
    assert one.dtype == other.dtype == torch.float64


def test_a_large_half_precision_sum_does_not_overflow():
    x = torch.full((64, 64, 64), 300.0, dtype=torch.float16)
    assert masking.masked_mean(x, torch.ones(64, 64)).item() == 300.0


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (3, 2, 2, 1)])
def test_a_mask_that_does_not_fit_is_refused(shape):
    with pytest.raises(TextkdError, match="leading axes"):
        masking.masked_mean(X, torch.ones(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mask", [None, MASK])
def test_a_mean_square_is_that_of_plain_operations(mask: torch.Tensor | None, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    found = []
    ours, theirs = (torch.randn(3, 2, 5, dtype=dtype).requires_grad_() for _ in range(2))
    for mean in (masking.mean_square, lambda s, t, m: masking.masked_mean((s - t).square(), m)):
        value = mean(ours, theirs, mask)
        # a gradient that is differentiated again, as gradient attention does
        first = torch.autograd.grad(value, (ours, theirs), create_graph=True)
        second = torch.autograd.grad((first[0].pow(3) + first[1].sin()).sum(), (ours, theirs))
        plain = torch.autograd.grad(mean(ours, theirs, mask), (ours, theirs))
        found.append((value, *first, *second, *plain))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf")])
def test_garbage_reaches_neither_a_mean_square_nor_its_gradient(garbage: float, dtype: torch.dtype) -> None:
    ours, theirs = X.clone().to(dtype), X.flip(0).to(dtype)
    ours[2], theirs[1, 1] = garbage, garbage
    ours.requires_grad_()
    value = masking.mean_square(ours, theirs, MASK)
    value.backward()
    assert value.item() == pytest.approx((64 + 49 + 36 + 25 + 0 + 0) / 6)
    assert torch.isfinite(ours.grad).all()
    assert not ours.grad[MASK == 0].any()
    assert ours.grad[0, 0].all()
