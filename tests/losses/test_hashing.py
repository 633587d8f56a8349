"""LSH: the planes and where they start."""

import pytest
import torch

from textkd import losses

MASK = torch.tensor([[1, 1], [1, 0], [1, 1], [0, 0]])


def build(**options):
    torch.manual_seed(0)
    return losses.get("lsh", "hidden").build((4, 2, 3), (4, 2, 3), {"bits": 6, **options}, 0)


def sides(seed=0):
    torch.manual_seed(seed)
    return torch.randn(4, 2, 3), torch.randn(4, 2, 3)


def vectors(x):
    return torch.stack([x[0].mean(0), x[1, 0], x[2].mean(0)])


@pytest.mark.parametrize(("target", "centre"), [("bits", "median"), ("bits", "mean"), ("l2", "mean"), ("l1", "median")])
def test_value(target, centre):
    module, (student, teacher) = build(target=target, centre=centre, mse=0.5), sides()
    s, t = vectors(student), vectors(teacher)
    projected = t @ module.planes.T
    middle = projected.median(0).values if centre == "median" else projected.mean(0)
    p, q = s @ module.planes.T - middle, projected - middle
    if target == "bits":
        chance = torch.sigmoid(p)
        # a median lies on its plane, where rounding chooses the side
        error = -torch.where(q > 1e-5, chance.log(), (1 - chance).log())
        error = torch.where(q.abs() < 1e-5, torch.minimum(-chance.log(), -(1 - chance).log()), error).mean()
    else:
        error = (p - q).square().mean() if target == "l2" else (p - q).abs().mean()
    value = module(student, teacher, MASK)
    if target == "bits" and centre == "median":
        assert value >= error + 0.5 * (s - t).square().mean() - 1e-6
    else:
        assert value.item() == pytest.approx((error + 0.5 * (s - t).square().mean()).item(), rel=1e-5)


def test_the_first_batch_of_two_samples_sets_the_planes_for_good():
    module = build()
    (student, teacher), other = sides(), sides(1)
    module(student[:1], teacher[:1])
    assert not module.ready
    module(student, teacher, MASK)
    assert module.ready
    bias = module.bias.clone()
    assert bias.tolist() == pytest.approx((-(vectors(teacher) @ module.planes.T).median(0).values).tolist())
    module(*other)
    assert torch.equal(module.bias, bias)
    assert not list(module.parameters())


def test_a_resumed_run_keeps_the_planes():
    module, fresh = build(), build(std=2.0)
    module(*sides(), MASK)
    fresh(*sides(1), MASK)
    fresh.load_state_dict(module.state_dict())
    assert fresh(*sides(2)).item() == module(*sides(2)).item()
    torch.testing.assert_close(fresh.bias, module.bias)


def test_a_start_that_was_not_yet_saved_happens_after_loading():
    module = build()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for _ in range(2):
        module(*sides(), MASK)
    module.load_state_dict(before)
    module(*sides(1), MASK)
    assert module.bias.abs().max() > 0


def test_32_bits_per_dimension():
    assert losses.get("lsh", "hidden").build((4, 3), (4, 3), {}, 0).planes.shape == (96, 3)
