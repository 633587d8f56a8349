"""What must hold for every loss on logits or vectors, whatever its formula: pads, half precision, empty batches."""

import math

import torch

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])


def pair(*shape, seed=0, dtype=torch.float64):
    """Student and teacher, student with gradient."""
    generator = torch.Generator().manual_seed(seed)
    s, t = (2 * torch.randn(*shape, dtype=torch.float64, generator=generator) for _ in range(2))
    return s.to(dtype).requires_grad_(), t.to(dtype)


def classes(*shape, of=5, seed=0):
    return torch.randint(of, shape, generator=torch.Generator().manual_seed(seed))


def run(loss, s, t, mask=None, **rest):
    s = s.detach().requires_grad_()
    value = loss(s, t, mask, **rest)
    (gradient,) = torch.autograd.grad(value, s)
    return value.detach(), gradient


def check_pads(loss, shape=(4, 4, 5), **rest):
    """inf and nan under the mask change neither value nor gradient, and get none."""
    s, t = pair(*shape)
    value, gradient = run(loss, s, t, MASK, **rest)
    assert value != 0
    dead = MASK == 0
    for garbage in (math.inf, math.nan, 1e6):
        spoilt = (x.detach().masked_fill(dead[..., None], garbage) for x in (s, t))
        other, other_gradient = run(loss, *spoilt, MASK, **rest)
        assert other == value
        assert torch.equal(other_gradient, gradient)
        assert (other_gradient[dead] == 0).all()


def check_half(loss, shape=(4, 5), **rest):
    for dtype in (torch.float16, torch.bfloat16):
        s, t = pair(*shape, dtype=dtype)
        value, gradient = run(loss, s, t, **rest)
        wide, _ = run(loss, s.float(), t.float(), **rest)
        assert value == wide
        assert value.dtype == torch.float32
        assert gradient.isfinite().all()


def check_nothing_valid(loss, shape=(4, 4, 5), **rest):
    s, t = pair(*shape)
    value, gradient = run(loss, s, t, torch.zeros(4, 4), **rest)
    assert value == 0
    assert (gradient == 0).all()
