"""Factor transfer: the distance of whole samples, and the two stages of paraphraser and translator."""

import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError

FACTOR = losses.get("factor", "hidden")
LENGTHS = [4, 2, 0]
MASK = torch.arange(4) < torch.tensor(LENGTHS)[:, None]


def sides(width=5):
    torch.manual_seed(0)
    return torch.randn(3, 4, width, dtype=torch.float64), torch.randn(3, 4, 6, dtype=torch.float64)


@pytest.mark.parametrize(
    ("options", "distance"),
    [
        ({}, lambda d: d.abs().mean()),
        ({"order": 2}, lambda d: d.square().mean()),
        ({"order": 2, "root": True}, lambda d: d.square().sum().sqrt()),
        ({"order": 3, "root": True}, lambda d: d.abs().pow(3).sum().pow(1 / 3)),
    ],
)
@pytest.mark.parametrize("pool_power", [0, 2])
def test_padding_is_as_if_the_samples_were_shorter(options, distance, pool_power):
    student, teacher = sides(6)
    found = []
    for s, t, length in zip(student, teacher, LENGTHS, strict=True):
        s, t = s[:length], t[:length]
        if pool_power:
            s, t = s.pow(2).mean(-1), t.pow(2).mean(-1)
        if length:
            found.append(distance(s / s.norm() - t / t.norm()).item())
    value = FACTOR(student, teacher, MASK, pool_power=pool_power, **options)
    assert value.item() == pytest.approx(sum(found) / 2, rel=1e-12)


def test_a_pooled_vector_is_refused():
    with pytest.raises(TextkdError, match="always 1"):
        FACTOR(torch.ones(2, 3), torch.ones(2, 3), pool_power=2)


def build(**options):
    torch.manual_seed(1)
    return losses.get("factor_transfer", "hidden").build((3, 4, 5), (3, 4, 6), options, 0).double()


def trained(module, progress):
    """Names of the parts that get a gradient, and the student's."""
    student, teacher = sides()
    student.requires_grad_()
    module.zero_grad()
    module(student, teacher, MASK, progress=progress).backward()
    return {name.partition(".")[0] for name, p in module.named_parameters() if p.grad is not None}, student.grad


def test_the_paraphraser_learns_first_and_the_student_afterwards():
    module = build(paraphraser_share=0.3)
    parts, gradient = trained(module, 0.29)
    assert (parts, gradient) == ({"encoder", "decoder"}, None)
    parts, gradient = trained(module, 0.3)
    assert parts == {"translator"}
    assert gradient.abs().max() > 0


def test_the_first_stage_ends_in_a_reconstruction():
    module, (student, teacher) = build(rate=1.0), sides()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    values = []
    for _ in range(150):
        optimizer.zero_grad()
        values.append(module(student, teacher, MASK, progress=0.0))
        values[-1].backward()
        optimizer.step()
    assert values[-1] < 0.1 * values[0]


@pytest.mark.parametrize("kernel", [1, 3])
def test_padding_does_not_leak_through_the_convolution(kernel):
    module, (student, teacher) = build(kernel=kernel), sides()
    for progress in (0.0, 1.0):
        value = module(student, teacher, MASK, progress=progress)
        other = module(
            student.masked_fill(~MASK[..., None], float("nan")), teacher.masked_fill(~MASK[..., None], 1e9), MASK,
            progress=progress,
        )  # fmt: skip
        cut = module(student[:, :4], teacher[:, :4], MASK, progress=progress)
        longer = [torch.cat([x, torch.ones_like(x)], 1) for x in (student, teacher)]
        wide = module(*longer, torch.cat([MASK, torch.zeros_like(MASK)], 1), progress=progress)
        assert value.item() == other.item() == cut.item() == pytest.approx(wide.item(), rel=1e-12)


def test_a_kernel_sees_neighbours_and_one_vector_is_one_token():
    module, (student, teacher) = build(kernel=3), sides()
    swapped = student.flip(1)
    assert module(student, teacher).item() != pytest.approx(module(swapped, teacher.flip(1)).item())
    alone = module(student[:, 0], teacher[:, 0])
    assert alone.item() == pytest.approx(module(student[:, :1], teacher[:, :1]).item(), rel=1e-12)


def test_a_student_in_half_precision_is_computed_in_float32():
    module = build(kernel=3).bfloat16()
    value = module(*(x.float() for x in sides()), MASK)
    assert value.dtype == torch.float32
