"""A loss of rows of logits that a linear head makes, without these logits: the head's product is taken for a block of
rows, compared, and its gradient multiplied back at once, so that only the gradients by hidden states and weights stay.
They are computed together with the value: a second product of hidden states and weights in the backward would cost more
than keeping them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.linear import LinearLogits
from textkd.losses.logits.chunked import (
    Chunk,
    OfRows,
    Selection,
    in_chunks,
    outside_autocast,
    refuse_second_derivative,
    rows_per_chunk,
    wide_type,
)

ELEMENTS = 2**23  # of a block of logits: enough rows that the product runs at full speed


def row_loss(
    of_rows: OfRows,
    student: Tensor | LinearLogits,
    others: Sequence[Tensor | LinearLogits],
    mask: Tensor | None,
    reduce: Callable[[Tensor], Tensor],
    chunk: Chunk,
) -> Tensor | None:
    """reduce(of_rows(rows of the student's logits, rows of the others)), never with all logits in hand; None where the
    logits are tensors and `chunk` leaves them whole (see `rows_per_chunk`). Scalar.

    reduce: values of rows [...] to a number, linear in them.
    """
    rows = chunk if isinstance(chunk, int) else 0
    if isinstance(student, LinearLogits):
        with torch.enable_grad():
            values = torch.zeros(student.shape[:-1], dtype=wide_type([student.hidden]), device=student.device)
            (weights,) = torch.autograd.grad(reduce(values.requires_grad_()), values)
        return fused_sum(of_rows, student, others, weights, mask, rows)
    linear = [x.detach().narrowed() if isinstance(x, LinearLogits) else None for x in others]
    tensors = [x if isinstance(x, Tensor) else x.hidden.detach() for x in others]
    if any(linear):
        size = rows or max(ELEMENTS // student.shape[-1], 1)
    else:
        size = rows_per_chunk(student.shape, chunk, student.device)
    if not size:
        return None

    def made(z: Tensor, *parts: Tensor) -> Tensor:
        ready = (x if head is None else head.of(x) for x, head in zip(parts, linear, strict=True))
        return of_rows(z, *ready)

    return reduce(in_chunks(made, [student, *tensors], mask, size))


def fused_sum(
    of_rows: OfRows,
    student: LinearLogits,
    others: Sequence[Tensor | LinearLogits],
    weights: Tensor,
    mask: Tensor | None = None,
    block: int = 0,
) -> Tensor:
    """Sum over valid rows of weights * of_rows(student's logits, others). Scalar.

    of_rows: ([n,V], rows of the others) -> [n]. others: logits [...,V] of the teacher, also linear ones, or labels
    [...]; no gradient reaches them. weights [...]: of every row. block: rows of a block, 0: chosen here.
    """
    if torch.is_grad_enabled() and any(x.requires_grad for x in others):
        raise fail("a gradient by the teacher of fused logits", "only the student has one", fix="teacher.detach()")
    student = student.narrowed()
    known = [x.detach().narrowed() if isinstance(x, LinearLogits) else x for x in others]
    chosen = Selection(weights.shape, mask, student.device)
    given = _Given(of_rows, chosen, block or max(ELEMENTS // student.shape[-1], 1), weights.detach(), known)
    total: Tensor = _Fused.apply(given, student.hidden, student.weight, student.bias)  # type: ignore[no-untyped-call]
    return total


def block_of(chosen: Selection, at: slice | Tensor, x: Tensor | LinearLogits) -> Tensor:
    """Some rows [n,...] of a tensor, or the logits [n,V] of some rows."""
    return chosen.take(x, at) if isinstance(x, Tensor) else x.of(chosen.take(x.hidden, at))


@dataclass(frozen=True)
class _Given:
    """What has no gradient."""

    of_rows: OfRows
    chosen: Selection
    block: int
    weights: Tensor
    others: list[Tensor | LinearLogits]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: _Given, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        needed, chosen, wide = ctx.needs_input_grad[1:], given.chosen, wide_type([hidden])
        sums = [
            chosen.like(hidden, wide) if needed[0] else None,
            torch.zeros_like(weight, dtype=wide) if needed[1] else None,
            torch.zeros_like(bias, dtype=wide) if needed[2] and bias is not None else None,
        ]
        total = torch.zeros((), dtype=wide, device=hidden.device)
        with outside_autocast(hidden.device.type):
            for at in chosen.pieces(given.block):
                rows = chosen.take(hidden, at)
                # widened, so that its gradient is not rounded before anything has scaled it
                logits = F.linear(rows, weight, bias).to(wide)
                others = [block_of(chosen, at, x) for x in given.others]
                value, slope = _compared(given, logits, others, chosen.take(given.weights, at), any(needed))
                total += value
                del logits, others
                if slope is not None:
                    _add(chosen, at, sums, slope, rows, weight)
        ctx.sums, ctx.dtype = sums, hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        if ctx.sums is None:
            raise fail("a second backward of a fused loss", "its gradients are given away", fix="compute it anew")
        # scaled in place and given away: a copy would be one more [V,H]
        sums, ctx.sums = ctx.sums, None
        return None, *(None if x is None else x.mul_(upstream).to(ctx.dtype) for x in sums)


def _compared(
    given: _Given, logits: Tensor, others: list[Tensor], weights: Tensor, needed: bool
) -> tuple[Tensor, Tensor | None]:
    """Weighted sum of a block's rows and, where needed, its gradient by the logits."""
    with torch.enable_grad():
        logits.requires_grad_(needed)
        size = rows_per_chunk(logits.shape, "auto", logits.device) or len(logits)
        value = (in_chunks(given.of_rows, [logits, *others], None, size) * weights).sum()
        return value.detach(), torch.autograd.grad(value, logits)[0] if needed else None


def _add(
    chosen: Selection, at: slice | Tensor, sums: Sequence[Tensor | None], slope: Tensor, rows: Tensor, weight: Tensor
) -> None:
    """Adds what a block's gradient by its logits means for hidden states, weight and bias."""
    by_hidden, by_weight, by_bias = sums
    if by_bias is not None:
        by_bias += slope.sum(0)
    if slope.dtype == rows.dtype:
        if by_hidden is not None:
            chosen.put(by_hidden, at, slope @ weight)
        if by_weight is not None:
            by_weight.addmm_(slope.T, rows)
        return
    # half precision has no numbers as small as a mean over many rows makes them
    size = slope.abs().amax().clamp_min(torch.finfo(slope.dtype).tiny)
    narrow = slope.div_(size).to(rows.dtype)
    if by_hidden is not None:
        chosen.put(by_hidden, at, (narrow @ weight).to(by_hidden.dtype) * size)
    if by_weight is not None:
        by_weight += (narrow.T @ rows).to(by_weight.dtype).mul_(size)
