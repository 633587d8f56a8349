"""Means over valid positions only. A mask is bool or 0/1, 1 where a position counts; None: everything counts.

A mask's axes are the LEADING axes of the tensor ([B] or [B,T] for [B,T,H]); an axis of size 1 is broadcast. Invalid
positions are replaced before any arithmetic, so that garbage in them (also inf and nan) reaches neither value nor
gradient. Nothing here waits for the device. A sample without a valid position contributes zero; a batch without one
gives 0, never NaN: whoever calls a loss must refuse such a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from textkd.errors import fail


def widen(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; float32, float64 and whole numbers as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def expand(mask: Tensor, x: Tensor) -> Tensor:
    """`mask` as bool with as many axes as `x`, to be broadcast over it. Raises TextkdError if the shapes disagree."""
    leading = x.shape[: mask.dim()]
    bad = mask.dim() > x.dim() or any(m not in (1, n) for m, n in zip(mask.shape, leading, strict=False))
    if bad:
        raise fail(
            f"a mask of shape {list(mask.shape)} over a tensor of shape {list(x.shape)}",
            "the mask's axes are not the tensor's leading axes",
            fix="give the mask of the side that the tensor comes from",
        )
    return (mask != 0).reshape(*mask.shape, *([1] * (x.dim() - mask.dim())))


def fill(x: Tensor, mask: Tensor | None, value: float = 0.0) -> Tensor:
    """`x` with `value` at the invalid positions; their gradient is exactly zero."""
    return x if mask is None else torch.where(expand(mask, x), x, torch.full((), value, dtype=x.dtype, device=x.device))


def aligned(student: Tensor, teacher: Tensor, mask: Tensor | None = None, value: float = 0.0) -> tuple[Tensor, Tensor]:
    """Both sides in one float type of 32 bits or more, invalid positions set to `value`.

    Raises TextkdError if the shapes differ: broadcasting would compare what does not belong together.
    """
    same_shape(student.shape, teacher.shape)
    student, teacher = widen(student), widen(teacher)
    dtype = torch.promote_types(student.dtype, teacher.dtype)
    return fill(student.to(dtype), mask, value), fill(teacher.to(dtype), mask, value)


def same_shape(student: torch.Size, teacher: torch.Size) -> None:
    """Raises TextkdError if the shapes differ."""
    if student != teacher:
        raise fail(
            "student and teacher of one shape",
            f"student {list(student)}, teacher {list(teacher)}",
            fix="add a projection for another width, or match other taps",
        )


def count(x: Tensor, mask: Tensor | None) -> Tensor:
    """How many elements of `x` are valid (0-dim, at least 1, in the type of `x`)."""
    if mask is None:
        return torch.full((), max(x.numel(), 1), dtype=x.dtype, device=x.device)
    repeats = x.numel() // max(mask.numel(), 1)
    return ((mask != 0).sum() * repeats).clamp(min=1).to(x.dtype)


def masked_sum(x: Tensor, mask: Tensor | None) -> Tensor:
    """Sum of the valid elements of `x` [B,...]. Scalar, float32 or wider."""
    return fill(widen(x), mask).sum()


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the valid elements of `x` [B,T,...]: every valid position weighs the same. Scalar."""
    x = widen(x)
    return masked_sum(x, mask) / count(x, mask)


def mean_square(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """`masked_mean` of the squared differences [B,T,...], with the fewest passes over the memory. Scalar."""
    student, teacher = aligned(student, teacher)
    valid = None if mask is None else expand(mask, student)
    total: Tensor = _SquaredError.apply(student, teacher, valid)  # type: ignore[no-untyped-call]
    return total / count(student, mask)


class _SquaredError(torch.autograd.Function):
    """Sum of the squared differences at valid positions. It keeps what is there anyway, its inputs, and makes the
    difference again for the gradient; maps of attention are large, and what is not written need not be read."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, valid: Tensor | None) -> Tensor:
        ctx.save_for_backward(student, teacher, valid)
        return _difference(student, teacher, valid).square_().sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        student, teacher, valid = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated, too
            found = fill(student - teacher, valid) * (2 * grad)
        else:
            found = _difference(student, teacher, valid).mul_(2 * grad)
        for_student, for_teacher, _ = ctx.needs_input_grad
        return found if for_student else None, -found if for_teacher else None, None


def _difference(student: Tensor, teacher: Tensor, valid: Tensor | None) -> Tensor:
    """The difference with zeros at invalid positions, whatever was there: as bits, which is several times as fast as
    `masked_fill_` with a mask that is broadcast."""
    made = student - teacher
    if valid is not None:
        bits = torch.int64 if made.dtype == torch.float64 else torch.int32
        made.view(bits).bitwise_and_(-valid.to(bits))
    return made


def sample_means(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the valid elements within each sample of `x` [B,...]: [B]; 0 where a sample has none."""
    x = widen(x)
    sums = _by_sample(fill(x, mask)).sum(1)
    size = x[0].numel() if len(x) else 1
    if mask is None:
        return sums / max(size, 1)
    valid = _by_sample(mask != 0)
    return sums / (valid.sum(1) * (size // max(valid.shape[1], 1))).clamp(min=1).to(x.dtype)


def mean_of_samples(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `values` [B] over the samples of which `mask` [B,...] leaves something. Scalar."""
    return masked_mean(values, None if mask is None else _by_sample(mask != 0).any(1))


def _by_sample(x: Tensor) -> Tensor:
    return x[:, None] if x.dim() == 1 else x.flatten(1)


def pair_mask(mask: Tensor | None) -> Tensor | None:
    """Which query x key pairs count: [B,T] -> [B,1,T,T] (both ends valid).

    A mask of pairs is passed on: [B,Tq,Tk] gets a head axis, [B,1,Tq,Tk] and [B,h,Tq,Tk] stay as they are. That is
    how causal and cross attention say which pairs exist.
    """
    if mask is None:
        return None
    valid = mask != 0
    if valid.dim() == 2:
        return valid[:, None, :, None] & valid[:, None, None, :]
    if valid.dim() == 3:
        return valid[:, None]
    if valid.dim() == 4:
        return valid
    raise fail(
        "a mask for attention",
        f"its shape is {list(mask.shape)}",
        fix="give [B,T] (positions) or [B,Tq,Tk] (pairs)",
    )
