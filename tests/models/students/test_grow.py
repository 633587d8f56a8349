"""Net2Net: a wider or deeper network computes the same; noise only breaks ties; wrong layers are refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from textkd.errors import TextkdError
from textkd.models.students.grow import deepen, random_copies, widen


def layers(bias=True, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Linear(5, 4, bias=bias, dtype=dtype), nn.Linear(4, 3, bias=bias, dtype=dtype)


@pytest.mark.parametrize("function", [F.relu, F.gelu, torch.tanh, lambda x: x])
@pytest.mark.parametrize("bias", [True, False])
def test_wider_layers_compute_the_same(function, bias):
    first, second = layers(bias)
    before = [p.clone() for p in (*first.parameters(), *second.parameters())]
    x = torch.randn(7, 5, dtype=torch.float64)
    wide_first, wide_second = widen(first, second, [2, 2, 0])
    assert wide_first.out_features == wide_second.in_features == 7
    torch.testing.assert_close(wide_second(function(wide_first(x))), second(function(first(x))))
    torch.testing.assert_close(wide_second.weight[:, 2], second.weight[:, 2] / 3)
    assert all(map(torch.equal, before, (*first.parameters(), *second.parameters())))
    assert all(p.requires_grad for p in (*wide_first.parameters(), *wide_second.parameters()))


def test_noise_parts_a_unit_from_its_copies():
    first, second = layers()
    generator = torch.Generator().manual_seed(1)
    noisy, _ = widen(first, second, [2, 2], noise=0.1, generator=generator)
    plain, _ = widen(first, second, [2, 2])
    assert torch.equal(noisy.weight[:4], plain.weight[:4])
    assert 0 < (noisy.weight[4:] - plain.weight[4:]).abs().max() < first.weight.std()
    assert not torch.equal(noisy.weight[4], noisy.weight[5])


def test_a_deeper_network_computes_the_same():
    first, _ = layers(dtype=torch.bfloat16)
    x = torch.randn(7, 5, dtype=torch.bfloat16)
    identity = deepen(first)
    assert torch.equal(identity(first(x).relu()).relu(), first(x).relu())


def test_copies_are_drawn_from_the_units_and_can_be_repeated():
    drawn = random_copies(4, 40, torch.Generator().manual_seed(0))
    assert len(drawn) == 36
    assert set(drawn) == {0, 1, 2, 3}
    assert drawn == random_copies(4, 40, torch.Generator().manual_seed(0))
    with pytest.raises(TextkdError, match="Net2Net grows"):
        random_copies(4, 3)


def test_layers_that_do_not_follow_each_other():
    first, second = layers()
    with pytest.raises(TextkdError, match="4 units out, 5 in"):
        widen(first, first, [0])
    with pytest.raises(TextkdError, match="units 0 to 3"):
        widen(first, second, [4])
