"""VID: a normal distribution whose mean the student predicts."""

import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError

MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])


def build(**options):
    torch.manual_seed(0)
    return losses.get("vid", "hidden").build((2, 3, 4), (2, 3, 5), options, 0).double()


def test_it_is_the_likelihood_of_a_normal_distribution_with_the_variance_asked_for():
    module, student, teacher = build(init_variance=2.0), torch.randn(2, 3, 4).double(), torch.randn(2, 3, 5).double()
    mean = module.regressor(student)
    expected = -torch.distributions.Normal(mean, 2.0**0.5).log_prob(teacher)[MASK != 0].mean()
    constant = 0.5 * torch.log(torch.tensor(2 * torch.pi))
    assert module(student, teacher, MASK).item() == pytest.approx((expected - constant).item(), rel=1e-6)


@pytest.mark.parametrize("variance", [2e-5, 0.1, 1.0, 50.0])
def test_every_start_variance_is_reached(variance):
    module = build(init_variance=variance)
    found = torch.nn.functional.softplus(module.log_scale) + 1e-5
    assert found.tolist() == pytest.approx([variance] * 5, rel=1e-3)


def test_width_of_the_regressor_and_a_variance_below_eps():
    assert [layer.out_features for layer in build(regressor_width=7).regressor[::2]] == [7, 7, 5]
    with pytest.raises(TextkdError, match="larger init_variance"):
        build(init_variance=1e-6)
