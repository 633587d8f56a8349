"""What holds for every registered loss: padding changes nothing, nothing is NaN, half precision is computed in float32,
small batches are told."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from every_loss import ENTRIES, MASK, Given, built, called, given, key, taps_of
from torch import Tensor

from textkd.errors import TextkdError
from textkd.losses import Loss


def value_and_gradients(entry: Loss, at: Given, module: Any) -> tuple[Tensor, list[Tensor]]:
    leaves = [tap.detach().clone().requires_grad_() for tap in taps_of(at.student)]
    value = called(entry, Given(leaves if entry.arity else leaves[0], at.teacher, at.mask, at.needs), module)
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return value.detach(), [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]


def at_padding(family: str, tap: Tensor) -> Tensor:
    """True where an element of `tap` belongs to a padded position."""
    if family in ("attention", "scores"):
        pairs = MASK[:, None, :, None] & MASK[:, None, None, :]
        return ~pairs.expand_as(tap)
    if family == "heads":
        return ~MASK[:, None, :, None].expand_as(tap)
    return ~MASK[:, :, None].expand_as(tap)


MASKED = [entry for entry in ENTRIES if given(entry).mask is not None]


@pytest.mark.parametrize("entry", MASKED, ids=key)
def test_padded_positions_change_neither_value_nor_gradient(entry: Loss) -> None:
    clean = given(entry)
    module = built(entry, clean)
    value, gradients = value_and_gradients(entry, clean, module)
    assert torch.isfinite(value)
    for garbage in (7.5, math.nan, math.inf):
        dirty = clean.mapped(partial(_spoilt, entry.family, garbage))
        other, changed = value_and_gradients(entry, dirty, module)
        torch.testing.assert_close(other, value, rtol=1e-5, atol=1e-7)
        for one, two, tap in zip(gradients, changed, taps_of(clean.student), strict=True):
            torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
            assert not two[at_padding(entry.family, tap)].any()


def _spoilt(family: str, garbage: float, tap: Tensor) -> Tensor:
    return torch.where(at_padding(family, tap), garbage, tap) if tap.dim() > 2 else tap


@pytest.mark.parametrize("entry", ENTRIES, ids=key)
def test_it_teaches_something_and_nothing_is_nan(entry: Loss) -> None:
    for masked in (True, False):
        if not masked and (entry.tokens or entry.family in ("attention", "scores", "heads")):
            continue
        at = given(entry, masked)
        value, gradients = value_and_gradients(entry, at, built(entry, at))
        assert value.dim() == 0
        assert torch.isfinite(value)
        assert all(torch.isfinite(g).all() for g in gradients)
        assert any(g.abs().max() > 0 for g in gradients)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.needs_teacher], ids=key)
def test_equal_sides_give_finite_gradients(entry: Loss) -> None:
    at = given(entry)
    at = Given(at.student, copy.deepcopy(at.student), at.mask, at.needs)
    value, gradients = value_and_gradients(entry, at, built(entry, at))
    assert torch.isfinite(value)
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("entry", ENTRIES, ids=key)
def test_half_precision_is_computed_in_float32(entry: Loss) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        _in_half(entry, dtype)


def _in_half(entry: Loss, dtype: torch.dtype) -> None:
    at = given(entry)
    half = at.mapped(lambda tap: tap.to(dtype) if tap.is_floating_point() else tap)
    module = built(entry, at)
    wide = half.mapped(lambda tap: tap.float() if tap.is_floating_point() else tap)
    if entry.state:  # as the objective calls it
        entry = replace(entry, fn=copy.deepcopy(module), state=False)
        twin = replace(entry, fn=copy.deepcopy(module), state=False)
    else:
        twin = entry
    value = called(entry, half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, called(twin, wide), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.min_rows > 1], ids=key)
def test_too_few_samples_are_refused(entry: Loss) -> None:
    at = given(entry, masked=entry.family in ("attention", "scores", "heads"))
    module = built(entry, at)
    few = at.mapped(lambda tap: tap[: entry.min_rows - 1])
    few.mask = None if at.mask is None else at.mask[: entry.min_rows - 1]
    few.needs = {n: v[: entry.min_rows - 1] if isinstance(v, Tensor) else v for n, v in at.needs.items()}
    with pytest.raises(TextkdError):
        called(entry, few, module)


def test_it_says_where_it_comes_from_and_what_it_computes() -> None:
    for entry in ENTRIES:
        assert entry.source, key(entry)
        assert entry.formula, key(entry)
        assert entry.doc.endswith((".", ":")), key(entry)


ON_LOGITS = [entry for entry in ENTRIES if entry.family == "logits" and not entry.arity]


@pytest.mark.parametrize("entry", ON_LOGITS, ids=key)
def test_what_it_reads_of_the_teachers_logits_is_said_right(entry: Loss) -> None:
    """A cache of a part of the logits keeps probabilities, up to a number for all of a position; drawn ones are right
    on the average."""
    at = given(entry, masked=entry.targets == "ids")
    module = built(entry, at)
    first = at.teacher
    shift = 3 * torch.randn(*first.shape[:-1], 1)

    def gradient(teacher: Tensor) -> Tensor:
        return value_and_gradients(entry, replace(at, teacher=teacher), module)[1][0]

    same = torch.allclose(gradient(first + shift), gradient(first), rtol=1e-4, atol=1e-6)
    assert same == (entry.reads != "logits")
    if entry.reads == "shares":
        p, q = first.softmax(-1), (2 * torch.randn_like(first)).softmax(-1)
        mean = (gradient(p.log()) + gradient(q.log())) / 2
        assert torch.allclose(gradient(((p + q) / 2).log()), mean, rtol=1e-4, atol=1e-6)
