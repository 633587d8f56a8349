"""Losses over lists of layers, and of the channels of one: FSP, token Gram, NST, IRG, KDSVD, BERT-EMD, ALP."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses.relations.singular import _RightVectors
from textkd.losses.relations.transport import optimal_flow

LENGTHS = [4, 2, 3]
MASK = torch.arange(4) < torch.tensor(LENGTHS)[:, None]


def hidden(name):
    return losses.get(name, "hidden")


def layers(count, seed, width=5):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 4, width, dtype=torch.float64, generator=generator) for _ in range(count)]


def cut(x):
    """Each sample in its length, as numpy."""
    return [row[:length].numpy() for row, length in zip(x, LENGTHS, strict=True)]


def emd(student, teacher, family="hidden", **options):
    shapes = ([tuple(x.shape) for x in side] for side in (student, teacher))
    return losses.get("emd", family).build(*shapes, options, rows=1).double()


def test_fsp_by_its_definition():
    student, teacher = layers(3, 0), layers(3, 1)
    flows = [[[a.T @ b / len(a) for a, b in zip(cut(x), cut(y), strict=True)] for x, y in pairwise(side)]
             for side in (student, teacher)]  # fmt: skip
    due = sum(np.mean([((s - t) ** 2).mean() for s, t in zip(*pair, strict=True)]) for pair in zip(*flows, strict=True))
    assert hidden("fsp")(student, teacher, MASK).item() == pytest.approx(due)
    assert hidden("fsp")(student, teacher, MASK, reduction="mean").item() == pytest.approx(due / 2)


def test_a_single_layer_is_paired_with_itself():
    (student,), (teacher,) = layers(1, 0), layers(1, 1)
    for name in ("fsp", "token_gram"):
        alone = hidden(name)([student], [teacher], MASK)
        assert alone.item() == pytest.approx(hidden(name)([student] * 2, [teacher] * 2, MASK).item())
        assert alone > 0


def test_token_gram_by_its_definition():
    student, teacher = layers(2, 0), layers(2, 1, width=7)
    squares = []
    for i in range(3):
        s_0, s_1, t_0, t_1 = (cut(x)[i] for x in (*student, *teacher))
        squares.append((s_0 @ s_1.T / 5 - t_0 @ t_1.T / 7) ** 2)
    due = np.concatenate([s.ravel() for s in squares]).mean()
    assert hidden("token_gram")(student, teacher, MASK).item() == pytest.approx(due)


def test_nst_is_the_mean_of_its_kernel_over_all_pairs_of_channels():
    (student,), (teacher,) = layers(1, 0), layers(1, 1, width=7)
    due = []
    for s, t in zip(cut(student), cut(teacher), strict=True):
        s, t = (x / np.linalg.norm(x, axis=0) for x in (s, t))
        due.append(((t.T @ t) ** 2).mean() + ((s.T @ s) ** 2).mean() - 2 * ((s.T @ t) ** 2).mean())
    assert hidden("nst")(student, teacher, MASK).item() == pytest.approx(np.mean(due))


def test_irg_transformation_by_its_definition():
    student, teacher = layers(3, 0), layers(3, 1, width=7)
    due = []
    for pair in zip(pairwise(student), pairwise(teacher), strict=True):
        moved = [np.array([((a - b) ** 2).mean() for a, b in zip(cut(x), cut(y), strict=True)]) for x, y in pair]
        due.append((((moved[0] / moved[0].max()) - (moved[1] / moved[1].max())) ** 2).mean())
    assert hidden("irg_transformation")(student, teacher, MASK).item() == pytest.approx(np.mean(due))


@pytest.mark.parametrize("name", ["fsp", "token_gram", "irg_transformation", "kdsvd"])
def test_lists_of_two_lengths_are_refused(name):
    with pytest.raises(TextkdError, match="name as many layers"):
        hidden(name)(layers(3, 0), layers(2, 1), MASK)


@pytest.mark.parametrize("name", ["irg_transformation", "kdsvd"])
def test_one_layer_has_no_next_one(name):
    with pytest.raises(TextkdError, match="2 layers or more"):
        hidden(name)(layers(1, 0), layers(1, 1), MASK)


@pytest.mark.parametrize("name", ["fsp", "token_gram", "kdsvd"])
def test_vectors_of_samples_are_refused(name):
    with pytest.raises(TextkdError, match="between positions"):
        hidden(name)([x[:, 0] for x in layers(2, 0)], [x[:, 0] for x in layers(2, 1)])


def test_kdsvd_by_its_definition():
    student, teacher = layers(2, 0), layers(2, 1)
    due = []
    for i in range(3):
        pairs = []
        for s, t in zip(student, teacher, strict=True):
            v_s, v_t = np.linalg.svd(cut(s)[i])[2], np.linalg.svd(cut(t)[i])[2][0]
            v_s = v_s[: min(4, LENGTHS[i])]
            v_t = v_t * np.sign(v_t[np.argmax(abs(v_t))])
            close = v_s @ v_t
            best = np.argmax(abs(close))
            pairs.append((v_s[best] * np.sign(close[best]), v_t))
        r_s, r_t = (np.exp(-((b[:, None] - a[None]) ** 2) / 8) for a, b in zip(*pairs, strict=True))
        due.append(((r_s - r_t) ** 2).sum())
    assert hidden("kdsvd")(student, teacher, MASK).item() == pytest.approx(np.mean(due))


def test_singular_vectors_have_the_gradient_of_finite_differences():
    (x,) = layers(1, 0)
    assert torch.autograd.gradcheck(lambda x: _RightVectors.apply(x, 2)[1].square().cumsum(1), x.requires_grad_())
    short = x.detach()[:, :2].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: _RightVectors.apply(x, 2)[1].square().cumsum(1), short)


def test_equal_and_vanishing_singular_values_give_finite_gradients():
    _, teacher = layers(2, 0), layers(2, 1)
    equal, one = torch.eye(5, dtype=torch.float64)[:4].repeat(3, 1, 1), torch.ones(3, 4, 5, dtype=torch.float64)
    for own in (equal, one, torch.zeros_like(one)):
        own = own.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(hidden("kdsvd")([own, 2 * own], teacher, MASK), own)
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e3


def test_the_sign_of_a_singular_vector_is_no_news():
    student, teacher = layers(2, 0), layers(2, 1)
    value = hidden("kdsvd")(student, teacher)
    assert hidden("kdsvd")(student, [teacher[0], -teacher[1]]).item() == pytest.approx(value.item())
    assert hidden("kdsvd")([-student[0], student[1]], teacher).item() == pytest.approx(value.item())


def test_the_cheapest_flow():
    cost = torch.tensor([[1.0, 5.0, 9.0], [4.0, 1.0, 1.0]])
    flow = optimal_flow(cost, torch.tensor([0.5, 0.5]), torch.ones(3) / 3)
    np.testing.assert_allclose(flow, [[1 / 3, 1 / 6, 0], [0, 1 / 6, 1 / 3]], atol=1e-7)
    with pytest.raises(TextkdError, match="inf or nan"):
        optimal_flow(cost / 0, torch.tensor([0.5, 0.5]), torch.ones(3) / 3)


def test_emd_moves_each_layer_to_its_likeness():
    teacher = layers(4, 1)
    student = [(teacher[at] + 0.01).requires_grad_() for at in (2, 0)]
    loss = emd(student, teacher, update=False)
    value = loss(student, teacher, MASK)
    cost = torch.tensor([[(s - t)[MASK].square().mean().item() for t in teacher] for s in student])
    flow = torch.tensor(optimal_flow(cost, loss.student_weight, loss.teacher_weight))
    assert flow[0, 2] == flow[1, 0] == 0.25
    assert value.item() == pytest.approx((flow * cost).sum().item())
    (gradient,) = torch.autograd.grad(value, student[0])
    due = sum(flow[0, j] * 2 * (student[0] - teacher[j]) for j in range(4)) * MASK[..., None] / (MASK.sum() * 5)
    torch.testing.assert_close(gradient, due.detach())


def test_weights_follow_the_cost_of_moving_and_only_in_training():
    student, teacher = layers(2, 0), layers(3, 1)
    loss = emd(student, teacher)
    cost = torch.tensor([[(s - t).square().mean() for t in teacher] for s in student])
    flow = optimal_flow(cost, *(torch.ones(n).double() / n for n in (2, 3)))
    loss.eval()(student, teacher)
    assert loss.student_weight.tolist() == [0.5, 0.5]
    loss.train()(student, teacher)
    spent = flow * cost.numpy()
    for weight, per_unit in ((loss.student_weight, spent.sum(1) * 2), (loss.teacher_weight, spent.sum(0) * 3)):
        due = 1 / per_unit
        np.testing.assert_allclose(weight.numpy(), due / due.sum(), rtol=1e-6)
    assert "update=True" in repr(loss)


def test_weights_are_saved():
    student, teacher = layers(2, 0), layers(3, 1)
    one = emd(student, teacher)
    before = one.teacher_weight.clone()
    one(student, teacher)
    assert not torch.equal(one.teacher_weight, before)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    fresh = emd(student, teacher)
    fresh.load_state_dict(torch.load(file))
    assert torch.equal(fresh.teacher_weight, one.teacher_weight)


def test_a_layer_that_costs_nothing_is_no_division_by_zero():
    teacher = layers(3, 1)
    loss = emd(teacher[:2], teacher)
    for _ in range(3):
        assert loss([x.clone().requires_grad_() for x in teacher[:2]], teacher).isfinite()
    assert loss.student_weight.isfinite().all()
    assert loss.student_weight.sum().item() == pytest.approx(1.0)


def test_emd_of_attention_leaves_padding_out():
    generator = torch.Generator().manual_seed(0)
    student, teacher = ([torch.randn(3, 2, 4, 4, generator=generator) for _ in range(n)] for n in (2, 3))
    loss = emd(student, teacher, "scores", update=False)
    spoilt = [x.masked_fill(~(MASK[:, None, :, None] & MASK[:, None, None]), float("nan")) for x in student]
    assert loss(spoilt, teacher, MASK) == loss(student, teacher, MASK)


def test_emd_knows_the_layers_that_it_was_built_for():
    student, teacher = layers(2, 0), layers(3, 1)
    with pytest.raises(TextkdError, match="2 <- 3 layers"):
        emd(student, teacher)(student, teacher[:2])


def test_alp_by_its_definition():
    student, teacher = layers(2, 0), layers(3, 1)
    s, t = (np.stack([x[:, 0].numpy() for x in side]) for side in (student, teacher))
    weights = np.exp(0.5 * np.einsum("ibh,jbh->ijb", s, t))
    mixed = np.einsum("ijb,jbh->ibh", weights / weights.sum(1, keepdims=True), t)
    found = hidden("alp")(student, teacher, MASK, scale=0.5)
    assert found.item() == pytest.approx(((s - mixed) ** 2).mean())


def test_alp_of_all_positions_leaves_padding_out():
    student, teacher = layers(2, 0), layers(3, 1)
    found = hidden("alp")(student, teacher, MASK, positions="all", normalise=True)
    parts = [hidden("alp")([x[i : i + 1, j] for x in student], [x[i : i + 1, j] for x in teacher], normalise=True)
             for i, j in MASK.nonzero().tolist()]  # fmt: skip
    assert found.item() == pytest.approx(torch.stack(parts).mean().item())


def test_alp_with_one_layer_of_the_teacher_is_the_mean_squared_error():
    student, teacher = layers(2, 0), layers(1, 1)
    due = torch.stack([hidden("mse")(s, teacher[0], MASK) for s in student]).mean()
    assert hidden("alp")(student, teacher, MASK, positions="all").item() == pytest.approx(due.item())
    with pytest.raises(TextkdError, match="use a projection"):
        hidden("alp")([x[..., :3] for x in student], teacher, MASK)
