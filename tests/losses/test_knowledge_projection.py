"""Knowledge projection: the teacher is mapped, the student is not."""

import pytest
import torch

from textkd import losses


@pytest.mark.parametrize(("norm", "size"), [("l2", torch.square), ("l1", torch.abs)])
def test_value(norm, size):
    torch.manual_seed(0)
    module = losses.get("knowledge_projection", "hidden").build((2, 3, 4), (2, 3, 7), {"norm": norm}, 0)
    student, teacher = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 7)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    value = module(student, teacher, mask)
    difference = (student - teacher @ module.projection.weight.T)[mask != 0]
    assert value.item() == pytest.approx(size(difference).mean().item(), rel=1e-6)
    value.backward()
    assert module.projection.weight.grad.abs().max() > 0
    assert student.grad.abs().max() > 0
