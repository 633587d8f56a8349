"""HCL: the parts of a text are adaptive average pooling of its valid tokens, those of an image squares of patches."""

import pytest
import torch
from torch.nn import functional as F

from textkd import losses

HCL = losses.get("hcl", "hidden")


def level_means(difference, pool, size):
    """The original for one sample: [H, ...] pooled to 4, 2 and 1 where it is larger."""
    loss, weight, total = difference.square().mean(), 1.0, 1.0
    for parts in (4, 2, 1):
        if parts < size:
            weight /= 2
            total += weight
            loss = loss + weight * pool(difference, parts).square().mean()
    return loss / total


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7, 11])
def test_a_text_of_any_length(length):
    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 11, 3, dtype=torch.float64)
    difference = (x - y)[0, :length].T[None]
    expected = level_means(difference, F.adaptive_avg_pool1d, length)
    value = HCL([x], [y], torch.arange(11)[None] < length)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert HCL([x[:, :length]], [y[:, :length]]).item() == pytest.approx(expected.item(), rel=1e-12)


def test_holes_do_not_shift_the_parts_and_samples_weigh_the_same():
    torch.manual_seed(1)
    x, y = torch.randn(2, 3, 7, 3, dtype=torch.float64)
    mask = torch.tensor([[0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]])
    parts = [HCL([x[i : i + 1, mask[i] != 0]], [y[i : i + 1, mask[i] != 0]]).item() for i in (0, 1)]
    assert HCL([x], [y], mask).item() == pytest.approx(sum(parts) / 2, rel=1e-12)


@pytest.mark.parametrize(("rows", "columns", "special"), [(6, 6, 0), (6, 6, 2), (5, 7, 1), (3, 3, 1), (2, 2, 0)])
def test_an_image_is_pooled_in_squares_without_its_special_tokens(rows, columns, special):
    torch.manual_seed(2)
    x, y = torch.randn(2, 2, special + rows * columns, 3, dtype=torch.float64)
    maps = (x - y)[:, special:].transpose(1, 2).unflatten(2, (rows, columns))
    expected = level_means(maps, F.adaptive_avg_pool2d, rows)
    assert HCL([x], [y], grid_rows=rows).item() == pytest.approx(expected.item(), rel=1e-12)


def test_layers_are_added_and_vectors_have_one_level():
    torch.manual_seed(3)
    x, y = torch.randn(2, 4, 3, dtype=torch.float64)
    assert HCL([x, x], [y, y]).item() == pytest.approx(2 * (x - y).square().mean().item())
