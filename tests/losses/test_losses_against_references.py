"""Every registered loss against its independent formula: value, gradient, padding, precision, odd batches."""

import functools
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from loss_references import LENGTHS_MASK, REFERENCES, Case, valid_pairs

import textkd.losses.registry as registry
from textkd import losses
from textkd.errors import TextkdError

ALL = [
    pytest.param(key, case, options, id="-".join([*key, str(number), *map(str, options.values())]))
    for key, row in REFERENCES.items()
    for number, case in enumerate(row.cases(np.random.default_rng(7)))
    for options in row.variants
]
MASKED = [p for p in ALL if p.values[1].mask is not None]
MEANS = [p for p in ALL if p.values[2].get("reduction") != "sum"]  # a sum has no mean


def over(cases):
    """A decorator: a test for each loss runs for all of its cases; 2,000 tests would cost more than their work."""

    def decorate(test):
        @functools.wraps(test)
        def run(key, **rest):
            for case in (case for case in cases if case.values[0] == key):
                try:
                    test(*case.values, **rest)
                except Exception as error:
                    raise AssertionError(f"{case.id} {rest or ''}: {error}") from error

        own = [p for p in inspect.signature(test).parameters.values() if p.name not in ("case", "options")]
        del run.__wrapped__
        run.__signature__ = inspect.Signature(own)
        keys = list(dict.fromkeys(case.values[0] for case in cases))
        return pytest.mark.parametrize("key", keys, ids="-".join)(run)

    return decorate


every_case, every_masked_case = over(ALL), over(MASKED)


def loss_of(key, case, options, dtype=torch.float64):
    """(value, gradient) of the registered loss."""
    student, teacher, mask = case.tensors(dtype)
    student.requires_grad_()
    value = losses.get(key[1], key[0])(student, teacher, mask, **options)
    value.backward()
    return value.detach(), student.grad


def dead_elements(key, x, mask):
    """Which elements of `x` must not count, told from the definition of each family."""
    dead = np.zeros(x.shape, bool)
    for i in np.ndindex(*x.shape):
        if key[0] in ("attention", "scores"):
            dead[i] = not valid_pairs(mask, i[0], i[2], i[3])
        elif key[0] == "heads":
            dead[i] = not mask[i[0], i[2]]
        else:
            dead[i] = not mask[i[: mask.ndim]]
    return dead


def test_every_registered_loss_has_a_referee():
    """A formula here, one in a test of its family, or values of the original (tests/golden)."""
    folders = Path(__file__).parent, Path(__file__).parents[1] / "golden"
    files = [file for folder in folders for file in folder.glob("*.py") if file.name != "test_losses_everywhere.py"]
    named = {word for file in files for word in re.findall(r"[\"'](\w+)[\"']", file.read_text())}
    ours = {entry.name for entry in registry._ENTRIES.values() if str(entry.fn.__module__).startswith("textkd.")}
    assert ours - named == set()


@pytest.mark.parametrize("key", REFERENCES, ids="-".join)
def test_every_loss_is_described_and_every_option_tried(key):
    entry = losses.get(key[1], key[0])
    assert entry.doc
    assert entry.formula
    assert entry.source
    for option in entry.options:
        tried = [v[option.name] for v in REFERENCES[key].variants if option.name in v]
        assert any(value != option.default for value in tried), f"no variant tries {option.name}"
        assert f"{option.name}" in f"{inspect.getdoc(entry.fn)} {inspect.getdoc(losses.get('kl', 'logits').fn)}"
    assert losses.check_options(entry, {k: v for variant in REFERENCES[key].variants for k, v in variant.items()}) == []


@every_case
def test_value(key, case, options):
    value, _ = loss_of(key, case, options)
    expected = REFERENCES[key].reference(case.student, case.teacher, case.mask, **options)
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert value.dtype == torch.float64


@every_case
def test_gradient(key, case, options):
    """Of both sides, against central differences of the reference, not of the loss itself, at a dozen of the elements;
    the target's where the loss passes one on. A label has none."""
    entry, reference, step = losses.get(key[1], key[0]), REFERENCES[key].reference, 1e-6
    student, teacher, mask = case.tensors()
    leaves = [student.requires_grad_()]
    if entry.needs_teacher:
        leaves.append(teacher.requires_grad_())
    found = torch.autograd.grad(entry(student, teacher, mask, **options), leaves)
    for side, gradient in enumerate(found):
        for i in np.random.default_rng(3).permutation(list(np.ndindex(*gradient.shape)))[:12].tolist():
            i, ends = tuple(i), []
            for sign in (1, -1):
                moved = [case.student.copy(), case.teacher.copy()]
                moved[side][i] += sign * step
                ends.append(reference(*moved, case.mask, **options))
            assert gradient[i].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-7)


@every_masked_case
@pytest.mark.parametrize("garbage", [1e6, float("inf"), float("nan")])
def test_padding_changes_neither_value_nor_gradient(key, case, options, garbage):
    value, gradient = loss_of(key, case, options)
    dead = dead_elements(key, case.student, case.mask)
    assert dead.any()
    student, teacher = case.student.copy(), case.teacher.copy()
    student[dead] = garbage
    if teacher.shape == student.shape:
        teacher[dead] = garbage
    elif key[1] == "cross_entropy":
        teacher[case.mask == 0] = 999
    else:
        teacher[case.mask == 0] = garbage
    other, other_gradient = loss_of(key, Case(student, teacher, case.mask), options)
    assert other.item() == value.item()
    assert torch.equal(other_gradient, gradient)
    assert (other_gradient[torch.tensor(dead)] == 0).all()


@every_masked_case
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_mask_may_be_bool_or_numbers(key, case, options, kind):
    student, teacher, mask = case.tensors()
    entry = losses.get(key[1], key[0])
    other = mask.bool() if kind == "bool" else mask.float()
    assert entry(student, teacher, other, **options).item() == entry(student, teacher, mask, **options).item()


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(key, case, options, dtype):
    value, gradient = loss_of(key, case, options, dtype)
    student, teacher, _ = case.tensors(dtype)
    teacher = teacher.double().numpy() if teacher.is_floating_point() else teacher.numpy()
    rounded = Case(student.double().numpy(), teacher, case.mask)
    expected = REFERENCES[key].reference(rounded.student, rounded.teacher, rounded.mask, **options)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=2e-5, abs=1e-6)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


@every_case
def test_autocast_changes_nothing(key, case, options):
    expected, _ = loss_of(key, case, options, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = loss_of(key, case, options, torch.float32)
    assert value.item() == expected.item()


@every_case
def test_batch_of_one(key, case, options):
    one = case.samples(slice(0, 1))
    value, gradient = loss_of(key, one, options)
    expected = REFERENCES[key].reference(one.student, one.teacher, one.mask, **options)
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert gradient.isfinite().all()


@every_masked_case
@pytest.mark.filterwarnings("error")
def test_a_batch_without_valid_positions_is_zero_not_nan(key, case, options):
    value, gradient = loss_of(key, Case(case.student, case.teacher, np.zeros_like(case.mask)), options)
    assert value.item() == 0.0
    assert (gradient == 0).all()


@every_masked_case
def test_a_sample_without_valid_positions_contributes_nothing(key, case, options):
    alive = case.mask.reshape(len(case.mask), -1).any(1)
    assert not alive.all()
    value, _ = loss_of(key, case, options)
    shorter = Case(case.student[alive], case.teacher[alive], case.mask[alive])
    assert value.item() == pytest.approx(loss_of(key, shorter, options)[0].item(), rel=1e-12)


@over(MEANS)
def test_units_make_the_mean_independent_of_the_cut_into_micro_batches(key, case, options):
    entry = losses.get(key[1], key[0])
    mask = case.mask
    if mask is not None and mask.ndim == 3:
        mask = np.tril(np.ones_like(mask))
    elif mask is not None:
        mask = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]]) if mask.ndim == 2 else mask * 0 + 1
    labels = np.where(case.teacher == -100, 1, case.teacher) if key[1] == "cross_entropy" else case.teacher
    whole = Case(case.student, labels, mask)
    total = weight = 0.0
    for part in (slice(0, 1), slice(1, 4)):
        batch = whole.samples(part)
        units = count_units(entry.unit(options), batch, entry.family)
        total += units * loss_of(key, batch, options)[0].item()
        weight += units
    assert total / weight == pytest.approx(loss_of(key, whole, options)[0].item(), rel=1e-12)


def count_units(unit, case, family):
    if unit == "row":
        return len(case.student)
    if unit == "pair" and case.mask is not None and case.mask.ndim == 2:
        return sum(int(row.sum()) ** 2 for row in case.mask)
    if unit == "position" and case.mask is not None:
        return case.mask.any(-1).sum() if case.mask.ndim == 3 else case.mask.sum()
    return len(case.student) if case.mask is None else case.mask.sum()


@pytest.mark.parametrize("key", [key for key in REFERENCES if key[0] != "labels"], ids="-".join)
def test_other_shapes_are_refused_not_broadcast(key):
    case = REFERENCES[key].cases(np.random.default_rng(0))[0]
    student, teacher, _ = case.tensors()
    with pytest.raises(TextkdError, match="one shape"):
        losses.get(key[1], key[0])(student, teacher[..., :1], None)


@pytest.mark.parametrize(
    ("name", "logits", "labels"),
    [("mse", (4, 2), (4,)), ("mse", (4,), (4, 1)), ("bce", (4, 2), (4,)), ("cross_entropy", (4, 2), (4, 2))],
)
def test_labels_of_another_shape_are_refused(name, logits, labels):
    with pytest.raises(TextkdError, match="labels that fit"):
        losses.get(name, "labels")(torch.zeros(logits), torch.zeros(labels))


def test_perfect_match_is_zero():
    same = np.random.default_rng(0).normal(size=(4, 4, 5))
    case = Case(same, same.copy(), LENGTHS_MASK)
    for key in [
        ("logits", "kl"),
        ("logits", "mse"),
        ("hidden", "mse"),
        ("hidden", "normalised_mse"),
        ("hidden", "cosine"),
    ]:
        assert loss_of(key, case, {})[0].item() == pytest.approx(0.0, abs=1e-12)


def test_t2_keeps_the_size_of_the_gradient():
    case = REFERENCES["logits", "kl"].cases(np.random.default_rng(1))[0]
    sizes = {
        (t, by_t2): loss_of(("logits", "kl"), case, {"temperature": t, "scale_by_t2": by_t2})[1].abs().sum().item()
        for t in (8.0, 16.0)
        for by_t2 in (True, False)
    }
    assert sizes[16.0, True] / sizes[8.0, True] == pytest.approx(1.0, abs=0.1)
    assert sizes[16.0, False] / sizes[8.0, False] == pytest.approx(0.25, abs=0.05)


def test_attention_kl_survives_a_key_that_one_side_gives_zero():
    teacher = torch.tensor([[[[0.5, 0.5], [1.0, 0.0]]]])
    student = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]], requires_grad=True)
    value = losses.get("kl", "attention")(student, teacher)
    value.backward()
    assert value.isfinite()
    assert value > 1
    assert student.grad.isfinite().all()
