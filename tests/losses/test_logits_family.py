"""Divergences and relations of logits against independent formulas: value, gradient, padding, precision."""

import inspect

import numpy as np
import pytest
import torch
from logits_references import LABELS, REFERENCES
from loss_references import Case

from textkd import losses

CASES = {name: row.cases(np.random.default_rng(11)) for name, row in REFERENCES.items()}
every_loss = pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(name, options, id="-".join([name, *map(str, options.values())]))
        for name, row in REFERENCES.items()
        for options in row.variants
    ],
)


def masked(name):
    return [case for case in CASES[name] if case.mask is not None]


def labels_of(name, case):
    return {"labels": LABELS[case.student.ndim - 1]} if name == "dkd" else {}


def expected_of(name, case, options):
    return REFERENCES[name].reference(case.student, case.teacher, case.mask, **labels_of(name, case), **options)


def loss_of(name, case, options, dtype=torch.float64):
    """(value, gradient) of the registered loss."""
    student, teacher, mask = case.tensors(dtype)
    labels = {key: torch.tensor(value) for key, value in labels_of(name, case).items()}
    student.requires_grad_()
    value = losses.get(name, "logits")(student, teacher, mask, **labels, **options)
    value.backward()
    return value.detach(), student.grad


@pytest.mark.parametrize("name", REFERENCES)
def test_every_option_is_described_checked_and_tried(name):
    entry, told = losses.get(name, "logits"), inspect.getdoc(losses.get("kl", "logits").fn)
    variants = REFERENCES[name].variants
    assert entry.doc
    assert entry.formula
    assert entry.source
    for option in entry.options:
        assert option.name in f"{inspect.getdoc(entry.fn)} {told}"
        if option.name != "stored_temperature" and (name, option.name) != ("topk_kl", "eps"):
            assert any(variant.get(option.name, option.default) != option.default for variant in variants), option.name
    assert losses.check_options(entry, {k: v for variant in variants for k, v in variant.items()}) == []


@every_loss
def test_value_and_gradient(name, options):
    """The gradients of both sides against central differences of the reference, at a few of the elements."""
    step = 1e-6
    for case in CASES[name]:
        student, teacher, mask = case.tensors()
        labels = {key: torch.tensor(value) for key, value in labels_of(name, case).items()}
        leaves = [student.requires_grad_(), teacher.requires_grad_()]
        value = losses.get(name, "logits")(student, teacher, mask, **labels, **options)
        assert value.item() == pytest.approx(expected_of(name, case, options), rel=1e-9, abs=1e-12)
        for side, gradient in enumerate(torch.autograd.grad(value, leaves)):
            indices = list(np.ndindex(*gradient.shape))
            for i in np.random.default_rng(3).permutation(indices)[:4].tolist():
                ends = []
                for sign in (1, -1):
                    moved = [case.student.copy(), case.teacher.copy()]
                    moved[side][tuple(i)] += sign * step
                    ends.append(expected_of(name, Case(*moved, case.mask), options))
                assert gradient[tuple(i)].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-7)


@every_loss
@pytest.mark.parametrize("garbage", [1e6, float("nan")])
def test_padding_changes_neither_value_nor_gradient(name, options, garbage):
    for case in masked(name):
        value, gradient = loss_of(name, case, options)
        dead = case.mask == 0
        assert dead.any()
        student, teacher = case.student.copy(), case.teacher.copy()
        student[dead], teacher[dead] = garbage, garbage
        other, other_gradient = loss_of(name, Case(student, teacher, case.mask), options)
        assert other.item() == value.item()
        assert torch.equal(other_gradient, gradient)
        assert (other_gradient[torch.tensor(dead)] == 0).all()


@every_loss
@pytest.mark.filterwarnings("error")
def test_a_batch_without_valid_positions_is_zero_not_nan(name, options):
    for case in masked(name):
        value, gradient = loss_of(name, Case(case.student, case.teacher, np.zeros_like(case.mask)), options)
        assert value.item() == 0.0
        assert (gradient == 0).all()


@every_loss
def test_half_precision_is_computed_in_float32(name, options):
    for case in CASES[name]:
        value, gradient = loss_of(name, case, options, torch.float16)
        student, teacher, _ = case.tensors(torch.float16)
        rounded = Case(student.double().numpy(), teacher.double().numpy(), case.mask)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected_of(name, rounded, options), rel=5e-5, abs=1e-6)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("size", [1e3, 6e4])
def test_logits_of_any_size_give_finite_numbers(name, size):
    """Probabilities that underflow on one side, on both, and rows that agree wholly."""
    student = torch.tensor([[size, 0, 0], [0, size, 0], [0, 0, 0], [size, size, 0]], requires_grad=True)
    teacher = torch.tensor([[0, size, 0], [0, size, 0], [0, 0, 0.0], [0, 0, size]])
    labels = {"labels": torch.tensor([0, 1, 2, 0])} if name == "dkd" else {}
    value = losses.get(name, "logits")(student, teacher, None, **labels)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", REFERENCES)
def test_a_perfect_match_is_zero(name):
    case = Case(CASES[name][3].student, CASES[name][3].student.copy(), CASES[name][3].mask)
    value, gradient = loss_of(name, case, {})
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    assert gradient.abs().max() < 1e-6 or name in ("uld", "total_variation")  # |x| has a kink there
