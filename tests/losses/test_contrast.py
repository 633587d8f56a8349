"""Contrast of samples: independent formulas, which rows are drawn, what is remembered, odd batches."""

import math

import pytest
import torch

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses.contrast.representation import info_nce
from textkd.losses.pooling import pooled, valid_rows

ROWS = 12
CLASSES = torch.arange(ROWS) % 3


def vectors(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def crd(student=(4, 6), teacher=(4, 8), rows=ROWS, **options):
    torch.manual_seed(0)
    options = {"width": 5, "num_negatives": 7, **options}
    return losses.get("crd", "hidden").build(student, teacher, options, rows=rows).double()


def see_all(module):
    """Every row has come by once."""
    for start in range(0, ROWS, 4):
        ids = torch.arange(start, start + 4)
        module(vectors(4, 6), vectors(4, 8, seed=1), example_id=ids, labels=CLASSES[ids])
    return module


def unit(x):
    return [value / math.sqrt(sum(v * v for v in x)) for value in x]


@pytest.mark.parametrize("both", [False, True])
def test_info_nce_is_the_cross_entropy_of_picking_the_own_partner(both):
    s, t = vectors(3, 5), vectors(3, 5, seed=1)
    cos = [[sum(a * b for a, b in zip(unit(x), unit(y), strict=True)) for y in t.tolist()] for x in s.tolist()]

    def picks(table):
        return [math.log(sum(math.exp(c / 0.5) for c in row)) - row[i] / 0.5 for i, row in enumerate(table)]

    rows = picks(cos)
    if both:
        rows = [(a + b) / 2 for a, b in zip(rows, picks([list(c) for c in zip(*cos, strict=True)]), strict=True)]
    assert info_nce(s, t, tau=0.5, both_directions=both).item() == pytest.approx(sum(rows) / 3, rel=1e-12)


@pytest.mark.parametrize("pool", ["mean", "first"])
@pytest.mark.parametrize("both", [False, True])
def test_info_nce_does_not_see_pads_nor_samples_of_pads(pool, both):
    s, t = vectors(4, 3, 5), vectors(4, 3, 5, seed=1)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
    alone = [0, 1, 3]
    due = info_nce(s[alone], t[alone], mask[alone], pool=pool, both_directions=both)
    s, t = (x.masked_fill(mask[..., None] == 0, math.nan).requires_grad_() for x in (s, t))
    value = info_nce(s, t, mask, pool=pool, both_directions=both)
    assert value.item() == pytest.approx(due.item(), rel=1e-12)
    value.backward()
    assert s.grad.isfinite().all()
    assert s.grad[mask == 0].eq(0).all()
    assert s.grad[mask == 1].ne(0).any()


def test_info_nce_needs_two_samples():
    assert losses.get("info_nce", "hidden").min_rows == 2
    with pytest.raises(TextkdError, match="batch of 1"):
        info_nce(vectors(1, 5), vectors(1, 5))


def test_half_precision_is_finite():
    s, t = (torch.full((4, 5), 6e4, dtype=torch.float16, requires_grad=True) for _ in range(2))
    loss = info_nce(s, t)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(4))
    assert s.grad.isfinite().all()
    module = crd().to(torch.bfloat16)
    value = module(s.bfloat16().repeat(1, 2)[:, :6], t.bfloat16().repeat(1, 2)[:, :8],
                   example_id=torch.arange(4), labels=CLASSES[:4])  # fmt: skip
    assert value.dtype == torch.float32
    assert value.isfinite()


def test_pools():
    x, mask = torch.arange(12.0).reshape(2, 3, 2), torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert pooled(x, mask, "mean").tolist() == [[1, 2], [0, 0]]
    assert pooled(x, None, "mean").tolist() == [[2, 3], [8, 9]]
    assert pooled(x, mask, "first").tolist() == [[0, 1], [0, 0]]
    assert pooled(x[0], None, "mean").equal(x[0])
    assert valid_rows(mask, "mean").tolist() == valid_rows(mask, "first").tolist() == [True, False]
    assert valid_rows(None, "mean") is None


def test_negatives_are_of_other_classes_and_all_of_them_come():
    module = see_all(crd(num_negatives=400))
    ids = torch.tensor([3, 7, 11])
    drawn = module._draw(ids, CLASSES[ids])
    assert drawn[:, 0].equal(ids)
    for row, own in zip(drawn[:, 1:], CLASSES[ids], strict=True):
        assert set(row.tolist()) == {i for i in range(ROWS) if i % 3 != own}


def test_rows_of_unknown_class_are_negatives_until_they_come_by():
    module = crd(num_negatives=400)
    ids = torch.tensor([0, 3])
    assert set(module._draw(ids, CLASSES[ids])[0, 1:].tolist()) == set(range(ROWS)) - {0, 3}


def test_negatives_of_any_other_row():
    module = crd(num_negatives=400, negatives="other_row")
    drawn = module._draw(torch.tensor([0, 11]), None)
    assert [set(row.tolist()) for row in drawn[:, 1:]] == [set(range(1, 12)), set(range(11))]


def test_positives_of_the_same_class():
    module = see_all(crd(num_negatives=1, positives="same_class"))
    ids = torch.full((300,), 4)
    assert set(module._draw(ids, CLASSES[ids])[:, 0].tolist()) == {1, 4, 7, 10}


def test_draws_come_from_the_global_generator():
    module = see_all(crd())
    ids = torch.arange(4)
    torch.manual_seed(5)
    one = module._draw(ids, CLASSES[ids])
    other = module._draw(ids, CLASSES[ids])
    torch.manual_seed(5)
    assert module._draw(ids, CLASSES[ids]).equal(one)
    assert not other.equal(one)


def test_memory_and_z_survive_a_resume():
    module = see_all(crd())
    fresh = crd()
    fresh.load_state_dict(module.state_dict())
    ids, s, t = torch.arange(4), vectors(4, 6, seed=3), vectors(4, 8, seed=4)
    values = []
    for one in (module, fresh):
        torch.manual_seed(9)
        values.append(one(s, t, example_id=ids, labels=CLASSES[ids]).item())
    assert values[0] == values[1]
    assert module.memory_student.equal(fresh.memory_student)
    assert module.classes.equal(CLASSES)


def test_z_is_that_of_the_first_batch_and_only_seen_rows_are_remembered():
    module = crd()
    before, z = module.memory_teacher.clone(), None
    ids = torch.tensor([2, 5])
    for _ in range(2):
        module(vectors(2, 6), vectors(2, 8), example_id=ids, labels=CLASSES[ids])
        z = module.z_student.item() if z is None else z
        assert module.z_student.item() == z > 0
    changed = (module.memory_teacher != before).any(1).nonzero().flatten()
    assert changed.equal(ids)
    assert module.memory_teacher[ids].norm(dim=1).tolist() == pytest.approx([1, 1])


def test_outside_of_training_nothing_is_remembered():
    module = crd().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert module(vectors(2, 6), vectors(2, 8), example_id=torch.arange(2), labels=CLASSES[:2]).isfinite()
    assert all(value.equal(before[name]) for name, value in module.state_dict().items())


def test_both_embeddings_learn_and_pads_do_not_count():
    module = crd((4, 3, 6), (4, 3, 8))
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    s, t = vectors(2, 3, 6), vectors(2, 3, 8)
    drawn = {"example_id": torch.arange(2), "candidates": torch.tensor([[0, 3, 4], [1, 5, 6]])}
    due = module.eval()(s, t, mask, **drawn)
    s, t = (x.masked_fill(mask[..., None] == 0, math.inf).requires_grad_() for x in (s, t))
    value = module(s, t, mask, **drawn)
    assert value.item() == due.item()
    value.backward()
    assert s.grad[mask == 0].eq(0).all()
    assert module.student.weight.grad.abs().sum() > 0
    assert module.teacher.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("labels", [None, torch.zeros(2), torch.zeros(2, 3, dtype=torch.long)])
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(TextkdError, match="one class id per sample"):
        crd()(vectors(2, 6), vectors(2, 8), example_id=torch.arange(2), labels=labels)


def test_one_class_leaves_no_negatives():
    module = crd(rows=2)
    with pytest.raises(TextkdError, match="other_row"):
        module(vectors(2, 6), vectors(2, 8), example_id=torch.arange(2), labels=torch.zeros(2, dtype=torch.long))


def test_sizes_that_cannot_be():
    with pytest.raises(TextkdError, match="data of 1 rows"):
        crd(rows=1)
    problems = losses.check_options(losses.get("crd", "hidden"), {"num_negatives": 0, "width": 0})
    assert [p.where for p in problems] == ["num_negatives", "width"]


def test_repr_tells_the_options():
    assert str(crd(tau=0.2)) != str(crd(tau=0.3))
