"""What the formulas of DKD, DIST, multi-level logits and the divergences imply, and what they refuse."""

import math

import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses.logits.multilevel import gram_distance
from textkd.losses.logits.standardised import z_scores


def get(name):
    return losses.get(name, "logits")


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 5, generator=generator, dtype=torch.float64) for _ in range(2)]


def test_dkd_is_the_plain_kl_where_the_parts_have_the_weights_that_kl_gives_them(logits):
    student, teacher = (z[:1] for z in logits)
    labels = torch.tensor([2])
    rest = 1 - teacher.div(4).softmax(-1)[0, 2].item()
    found = get("dkd")(student, teacher, labels=labels, beta=rest)
    assert found.item() == pytest.approx(get("kl")(student, teacher, temperature=4.0).item(), rel=1e-12)


def test_two_classes_have_no_others(logits):
    student, teacher = (z[:, :2].requires_grad_() for z in logits)
    value = get("dkd")(student, teacher, labels=torch.tensor([0, 1, 1, 0]), alpha=0.0)
    assert value.item() == 0.0
    assert (torch.autograd.grad(value, student)[0] == 0).all()


def test_dkd_without_a_label_for_each_row_is_refused(logits):
    with pytest.raises(TextkdError, match="one label per row"):
        get("dkd")(*logits, labels=torch.tensor([0, 1]))


@pytest.mark.parametrize("name", ["dist", "batch_correlation"])
def test_one_row_cannot_be_compared_with_others(name, logits):
    assert get(name).min_rows == 2
    with pytest.raises(TextkdError, match="one row"):
        get(name)(logits[0][:1], logits[1][:1])


def test_dist_does_not_mind_the_scale_of_the_probabilities(logits):
    """Rows: any a p + b is as good as p. A mixture with the uniform distribution is such a one."""
    teacher = logits[1]
    student = (0.3 * teacher.softmax(-1) + 0.7 / 5).log()
    assert get("dist")(student, teacher).item() == pytest.approx(0.0, abs=1e-5)
    assert get("kl")(student, teacher).item() > 0.05


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4)])
def test_both_sides_of_a_gram_give_one_distance(shape):
    a, b = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = (a @ a.mT - b @ b.mT).square().sum()
    assert gram_distance(a, b).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_smaller_side_of_a_gram_keeps_the_digits_of_a_near_match():
    a = torch.rand(400, 3, generator=torch.Generator().manual_seed(1))
    b = a + 1e-4 * torch.rand(400, 3, generator=torch.Generator().manual_seed(2))
    exact = gram_distance(a.double().mT, b.double().mT), gram_distance(a.double(), b.double())
    assert gram_distance(a, b).item() == pytest.approx(exact[1].item(), rel=1e-3)
    assert exact[0].item() > 0


def test_a_vocabulary_is_not_squared():
    """V x V of this vocabulary would be 40 GB."""
    student = torch.zeros(2, 2, 100_000, requires_grad=True)
    get("class_correlation")(student, torch.randn(2, 2, 100_000)).backward()
    assert student.grad.isfinite().all()


def test_standardised_logits_have_neither_size_nor_place(logits):
    student, teacher = logits
    kl = get("kl")
    plain = kl(student, teacher, standardise=True)
    moved = kl(3 * student + 1, 0.2 * teacher - 5, standardise=True)
    assert moved.item() == pytest.approx(plain.item(), rel=1e-5)
    constant = torch.ones(1, 4, requires_grad=True)
    z_scores(constant).square().sum().backward()
    assert (constant.grad == 0).all()


def test_bounds_of_the_divergences():
    student, teacher = torch.tensor([[60.0, 0, 0]]), torch.tensor([[0, 0, 60.0]])
    assert get("jsd")(student, teacher).item() == pytest.approx(math.log(2))
    assert get("skewed_kl")(student, teacher, skew=0.1).item() == pytest.approx(math.log(10))
    assert get("total_variation")(student, teacher).item() == pytest.approx(1.0)
    assert get("kl")(student, teacher).item() == pytest.approx(60.0)


def test_symmetric_ones_are_symmetric(logits):
    for name in ("jsd", "symmetric_kl", "total_variation"):
        assert get(name)(*logits).item() == pytest.approx(get(name)(*logits[::-1]).item(), rel=1e-12)


def test_reverse_kl_without_entropy_prefers_the_first_choice():
    teacher = torch.tensor([[2.0, 1.0, 0.0]])
    sure, same = torch.tensor([[50.0, 0.0, 0.0]]), teacher
    assert get("reverse_kl")(sure, teacher, entropy=False) < get("reverse_kl")(same, teacher, entropy=False)
    assert get("reverse_kl")(sure, teacher) > get("reverse_kl")(same, teacher)


@pytest.mark.parametrize("name", ["kl", "soft_cross_entropy", "mse", "bce"])
def test_a_temperature_per_row(name, logits):
    student, teacher = logits
    temperatures = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    rows = [get(name)(student[i : i + 1], teacher[i : i + 1], temperature=float(t)) for i, t in enumerate(temperatures)]
    found = get(name)(student, teacher, temperature=temperatures)
    assert found.item() == pytest.approx(torch.stack(rows).mean().item(), rel=1e-12)
    tokens = get(name)(student[:, None], teacher[:, None], torch.ones(4, 1), temperature=temperatures)
    assert tokens.item() == pytest.approx(found.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("jsd", "beta", 1.5),
        ("skewed_kl", "skew", 1.0),
        ("topk_kl", "k", 0),
        ("topk_kl", "tail", "rest"),
        ("uld", "k", 0),
    ],
)
def test_options_out_of_range(name, option, value):
    assert len(losses.check_options(get(name), {option: value})) == 1
