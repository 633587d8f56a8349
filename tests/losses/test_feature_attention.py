"""AFD, dimension by dimension."""

import pytest
import torch

from textkd import losses

LENGTHS = [3, 1, 0]
MASK = torch.arange(3) < torch.tensor(LENGTHS)[:, None]


def build(**options):
    torch.manual_seed(0)
    return losses.get("afd", "hidden").build((3, 3, 4), (3, 3, 4), options, 0).double()


def test_value():
    module = build(inner_share=0.5)
    student, teacher = torch.randn(2, 3, 3, 4, dtype=torch.float64)
    total = 0.0
    for s, t, length in zip(student, teacher, LENGTHS, strict=True):
        if not length:
            continue
        s, t = s[:length], t[:length]
        rho = torch.sigmoid(module.attention(t.mean(0)))
        for c in range(4):
            course = s[:, c] / (s[:, c].norm() + 1e-6) - t[:, c] / (t[:, c].norm() + 1e-6)
            total += (rho[c] / rho.sum() * course.square().mean()).item()
    assert module(student, teacher, MASK).item() == pytest.approx(total / 2, rel=1e-12)


def test_a_dimension_that_is_never_active_has_finite_gradients():
    student = torch.zeros(3, 3, 4, dtype=torch.float64, requires_grad=True)
    build()(student, torch.randn(3, 3, 4).double()).backward()
    assert student.grad.isfinite().all()


def test_attention_that_underflows_everywhere_is_finite():
    module = build()
    module.attention[2].bias.data.fill_(-1000)
    assert module(*torch.randn(2, 3, 3, 4).double()).isfinite()


def test_pooled_vectors_are_refused():
    (problem,) = losses.check_shapes(losses.get("afd", "hidden"), (3, 4), (3, 4))
    assert "afd compares positions" in problem.found
