"""KL divergence from a teacher of which only the k largest classes of each row are known: a cache of top-k values, or
dense logits cut to k. The student's V classes enter through one logsumexp and k gathered logits, no [B,T,V] of log
probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.logits.softened import PER_ROW, Reduction, reduce_rows, scaled, soften
from textkd.losses.masking import fill, widen
from textkd.losses.options import Positive, Range
from textkd.losses.registry import register

Tail = Literal["bucket", "zero"]


@register(
    "topk_kl",
    family="logits",
    source="arcee-ai/DistillKit sparse KL",
    formula="T^2 / N * sum over rows of sum over top-k of p_t log(p_t / p_s) + r_t log(r_t / r_s), r = 1 - sum of p",
    min_classes=2,
    per_row_if=PER_ROW,
    reads="softmax",
)
def topk_kl(
    student: Tensor,
    teacher: Tensor | Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    k: Annotated[int, Range(1)] = 64,
    tail: Tail = "bucket",
    temperature: Positive = 1.0,
    stored_temperature: Positive = 1.0,
    scale_by_t2: bool = True,
    reduction: Reduction = "batchmean",
    eps: Positive = 1e-6,
) -> Tensor:
    """KL divergence over the teacher's k most likely classes and, as one more class, all the others.

    teacher: dense logits like the student's, cut to k here; or [values, ids], both [B,k] or [B,T,k], with log
    probabilities (or logits, where tail is zero) of the classes `ids`; then k is what was stored. tail: what happens
    to the rest r of the probability. "bucket": one class on both sides. "zero": the teacher's k are scaled to sum 1,
    and the student learns to give nothing to the rest. stored_temperature: the one at which the values were stored;
    at another `temperature` the stored rest can only be softened as one class, so store at the temperature of the
    training. eps: a rest below it is none. Other options as in `kl`. Scalar.
    """
    student = soften(fill(widen(student), mask), temperature)
    if isinstance(teacher, Tensor):
        log_t, ids = _cut(teacher, student, mask, k, tail, temperature)
    else:
        log_t, ids = _stored(teacher, student, mask, tail, stored_temperature / temperature)
    log_s = student.gather(-1, ids) - student.logsumexp(-1, keepdim=True)
    rows = (log_t.exp() * (log_t - log_s)).sum(-1)
    if tail == "bucket":
        rest_t, rest_s = _log_rest(log_t, eps), _log_rest(log_s, eps)
        share = rest_t.exp()
        rows = rows + torch.where(share > eps, share * (rest_t - rest_s), 0.0)
    return reduce_rows(scaled(rows, temperature, scale_by_t2), mask, reduction, student.shape[-1])


def _cut(
    teacher: Tensor, student: Tensor, mask: Tensor | None, k: int, tail: Tail, temperature: float
) -> tuple[Tensor, Tensor]:
    """log p and ids of the k most likely classes of dense logits."""
    if teacher.shape != student.shape:
        found = f"student {list(student.shape)}, teacher {list(teacher.shape)}"
        raise fail("student and teacher of one shape", found, fix="match other taps, or give [values, ids]")
    teacher = soften(fill(widen(teacher), mask), temperature).to(student.dtype)
    values, ids = teacher.topk(min(k, teacher.shape[-1]), dim=-1)
    whole = (values if tail == "zero" else teacher).logsumexp(-1, keepdim=True)
    return values - whole, ids


def _stored(
    teacher: Sequence[Tensor], student: Tensor, mask: Tensor | None, tail: Tail, power: float
) -> tuple[Tensor, Tensor]:
    """log p and ids of stored values, p^power scaled to sum 1."""
    values, ids = teacher
    if values.shape != ids.shape or ids.shape[:-1] != student.shape[:-1]:
        found = f"student {list(student.shape)}, values {list(values.shape)}, ids {list(ids.shape)}"
        raise fail("stored values of the student's rows", found, fix="give [values, ids], both [B,k] or [B,T,k]")
    values, ids = fill(widen(values), mask).to(student.dtype), fill(ids, mask)
    if tail == "zero":
        return F.log_softmax(values * power, dim=-1), ids
    if power == 1:
        return values, ids
    rest = (1 - values.exp().sum(-1, keepdim=True)).clamp(0, 1) ** power
    return values * power - ((values * power).exp().sum(-1, keepdim=True) + rest).log(), ids


def _log_rest(log_p: Tensor, eps: float) -> Tensor:
    """log(1 - sum p), sum p at most exp(-eps)."""
    total = log_p.logsumexp(-1).clamp_max(-eps)
    near = total > -1  # expm1 keeps the digits near 0, log1p those far from it
    return torch.where(near, (-torch.expm1(total)).log(), torch.log1p(-total.exp()))
