"""KL from a teacher of which k classes are known: stored values, the rest of the probability, bad input."""

import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError

torch.manual_seed(0)
STUDENT, TEACHER = torch.randn(2, 3, 9, dtype=torch.float64), 2 * torch.randn(2, 3, 9, dtype=torch.float64)
MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])
loss = losses.get("topk_kl", "logits")
kl = losses.get("kl", "logits")


def stored(k, temperature=1.0):
    values, ids = TEACHER.div(temperature).log_softmax(-1).topk(k)
    return [values, ids]


@pytest.mark.parametrize("tail", ["bucket", "zero"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_stored_at_the_temperature_of_the_training_is_the_same_as_live(tail, temperature, k):
    options = {"tail": tail, "temperature": temperature}
    live = loss(STUDENT, TEACHER, MASK, k=k, **options)
    assert loss(STUDENT, stored(k, temperature), MASK, stored_temperature=temperature, **options).item() == (
        pytest.approx(live.item(), rel=1e-9)
    )


@pytest.mark.parametrize("tail", ["bucket", "zero"])
def test_all_classes_are_the_plain_kl(tail):
    whole = kl(STUDENT, TEACHER, MASK, temperature=2.0).item()
    assert loss(STUDENT, TEACHER, MASK, k=9, tail=tail, temperature=2.0).item() == pytest.approx(whole, rel=1e-9)
    assert loss(STUDENT, TEACHER, MASK, k=500, tail=tail, temperature=2.0).item() == pytest.approx(whole, rel=1e-9)


def test_a_bucket_is_a_lower_bound_that_rises_with_k():
    values = [loss(STUDENT, TEACHER, MASK, k=k).item() for k in range(1, 10)]
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_without_a_tail_logits_are_as_good_as_log_probabilities():
    values, ids = stored(3)
    given = [loss(STUDENT, [values + shift, ids], MASK, tail="zero", temperature=3.0).item() for shift in (0.0, 7.0)]
    assert given[0] == pytest.approx(given[1], rel=1e-12)
    assert given[0] == pytest.approx(loss(STUDENT, TEACHER, MASK, k=3, tail="zero", temperature=3.0).item(), rel=1e-12)


def test_a_rest_stored_at_another_temperature_is_softened_as_one_class():
    teacher = torch.tensor([[0.6, 0.3, 0.06, 0.04]], dtype=torch.float64).log()
    student = torch.zeros(1, 4, dtype=torch.float64)
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).sqrt()
    p = p / p.sum()
    expected = (p * (p / torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)).log()).sum()
    found = loss(student, list(teacher.topk(2)), temperature=2.0, scale_by_t2=False)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)


def test_padding_of_stored_values_may_be_anything():
    student = STUDENT.clone().requires_grad_()
    values, ids = stored(3)
    dead = MASK == 0
    dirty = [values.masked_fill(dead[..., None], float("nan")), ids.masked_fill(dead[..., None], -7)]
    loss(student, dirty, MASK).backward()
    assert loss(STUDENT, dirty, MASK).item() == loss(STUDENT, [values, ids], MASK).item()
    assert (student.grad[dead] == 0).all()
    assert (student.grad[~dead] != 0).all()


def test_every_class_of_the_student_gets_a_gradient():
    student = STUDENT.clone().requires_grad_()
    loss(student, stored(2), tail="zero").backward()
    assert (student.grad != 0).all()
    torch.testing.assert_close(student.grad.sum(-1), torch.zeros(2, 3, dtype=torch.float64), atol=1e-12, rtol=0)


def test_half_precision_values_are_widened():
    values, ids = stored(3)
    found = loss(STUDENT.half(), [values.half(), ids], MASK)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss(STUDENT, [values, ids], MASK).item(), rel=5e-3)


@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 3, 3)), ((2, 4), (2, 4)), ((2, 4, 3), (2, 4, 3))])
def test_values_of_other_rows_are_refused(shapes):
    values, ids = torch.zeros(shapes[0]), torch.zeros(shapes[1], dtype=torch.long)
    with pytest.raises(TextkdError, match="stored values"):
        loss(STUDENT, [values, ids])


def test_a_dense_teacher_of_another_vocabulary_is_refused():
    with pytest.raises(TextkdError, match="one shape"):
        loss(STUDENT, TEACHER[..., :5])
