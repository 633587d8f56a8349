"""Logits over two vocabularies and two tokenizers."""

import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError

uld = losses.get("uld", "logits")


def test_by_hand():
    student = torch.tensor([[0.2, 0.5, 0.3]]).log()
    teacher = torch.tensor([[0.1, 0.1, 0.6, 0.2]]).log()
    assert uld(student, teacher).item() == pytest.approx(0.1 + 0.1 + 0.1 + 0.1)
    assert uld(student, teacher, k=2).item() == pytest.approx(0.1 + 0.1)
    assert uld(student, student[:, [2, 0, 1]]).item() == pytest.approx(0.0, abs=1e-6)


def test_the_nth_valid_position_meets_the_teachers_nth():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 6, requires_grad=True), torch.randn(2, 7, 9)
    mine = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0]])
    its = torch.tensor([[0, 0, 1, 0, 1, 0, 0], [1, 0, 1, 1, 0, 0, 0]])
    pairs = [([1, 2], [2, 4]), ([0, 1], [0, 2])]
    expected = torch.stack([uld(student[b, s], teacher[b, t]) for b, (s, t) in enumerate(pairs)]).mean()
    found = uld(student, [teacher, its], mine)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    dirty = teacher.masked_fill((its == 0)[..., None], float("nan"))
    assert uld(student, [dirty, its], mine).item() == found.item()
    found.backward()
    compared = torch.zeros(2, 5, dtype=torch.bool)
    for b, (s, _) in enumerate(pairs):
        compared[b, s] = True
    assert (student.grad[compared].abs().sum(-1) > 0).all()
    assert (student.grad[~compared] == 0).all()


def test_every_sample_weighs_the_same():
    torch.manual_seed(1)
    student, teacher = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    alone = [uld(student[b : b + 1], teacher[b : b + 1], mask[b : b + 1]).item() for b in range(2)]
    assert uld(student, teacher, mask).item() == pytest.approx(sum(alone) / 2)


def test_other_positions_without_a_mask_of_the_teacher_are_refused():
    with pytest.raises(TextkdError, match=r"\[logits, mask\]"):
        uld(torch.zeros(2, 5, 6), torch.zeros(2, 7, 9))
    with pytest.raises(TextkdError, match="two orders"):
        uld(torch.zeros(2, 6), [torch.zeros(2, 9), torch.ones(2)])
