"""How similar the samples of a batch are to each other, by inner products: SP, CC and PKT. Taps [B,T,H] (mask [B,T]) or
[B,H]; student and teacher may have any two widths. B: number of samples, x: their vectors (see `pool`)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from textkd.losses.masking import aligned, count, fill, masked_mean, masked_sum, pair_mask
from textkd.losses.options import Positive, Range
from textkd.losses.pooling import Pool, pooled, valid_rows
from textkd.losses.registry import register
from textkd.losses.relations.parts import Points, need_rows, observations, outer, sides, token_gram, unit, valid_first


@register(
    "sp",
    family="hidden",
    source="Similarity-preserving KD, Tung & Mori 2019, arXiv:1907.09682",
    formula="1 / B^2 * || rows(x_s x_s^T) - rows(x_t x_t^T) ||_F^2, rows of length 1",
    any_width=True,
    per="pair",
    per_row_if={"pool": ("mean", "first", "flat"), "reduction": ("sum",)},
    min_rows=2,
)
def sp(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    pool: Points = "mean",
    row_norm: Literal["l2", "l1"] = "l2",
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Compares the matrices of inner products, each of whose rows is scaled to length 1.

    pool: a sample's vector is the "mean" of its valid positions, its "first" one, or all of them "flat" (the original,
    on images; with text, long samples then dominate); "tokens" compares the positions within each sample instead.
    row_norm: the length of a row is its "l2" norm, or its "l1" norm (torchdistill's code). reduction: "mean" over the
    pairs or "sum". Scalar.
    """
    if pool == "tokens" and student.dim() == 3:
        student, teacher = sides(student, teacher, mask)
        grams, every = [token_gram(x) for x in (student, teacher)], pair_mask(mask)
        pairs = None if every is None else every[:, 0]
    else:
        *vectors, valid = observations(student, teacher, mask, pool)
        grams, pairs = [x @ x.T for x in vectors], outer(valid)
    g_s, g_t = (unit(gram, order=1 if row_norm == "l1" else 2) for gram in grams)
    squares = (g_s - g_t).square()
    return masked_mean(squares, pairs) if reduction == "mean" else masked_sum(squares, pairs)


@register(
    "cc",
    family="hidden",
    source="Correlation congruence, Peng et al. 2019, arXiv:1904.01802; code: AberHu/Knowledge-Distillation-Zoo",
    formula="1 / B^2 * || K_s - K_t ||_F^2, K = exp(-2 gamma) * sum_p (2 gamma)^p / p! * (x x^T)^p",
    any_width=True,
    per="row",
    min_rows=2,
)
def cc(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    kernel: Literal["gaussian", "bilinear"] = "gaussian",
    gamma: Positive = 0.4,
    order: Annotated[int, Range(1)] = 2,
    normalise: bool = True,
    distance: Literal["squared", "frobenius"] = "squared",
    pool: Pool = "mean",
) -> Tensor:
    """Compares the kernel matrices of the samples.

    kernel: "gaussian", its Taylor series up to `order` with width `gamma`, or "bilinear", inner products. normalise:
    scale the vectors to length 1 first, for which the series is that of the gaussian (off: torchdistill). distance:
    mean "squared" difference, or the "frobenius" norm over B^2 (torchdistill). pool: the mean of the valid positions or
    the first one. Scalar.
    """
    *vectors, valid = observations(student, teacher, mask, pool)
    grams = [x @ x.T for x in (map(unit, vectors) if normalise else vectors)]
    if kernel == "gaussian":
        terms = [math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) for p in range(order + 1)]
        grams = [torch.stack([a * g**p for p, a in enumerate(terms)]).sum(0) for g in grams]
    apart, pairs = fill(grams[0] - grams[1], outer(valid)), outer(valid)
    if distance == "frobenius":
        norm: Tensor = torch.linalg.vector_norm(apart)
        return norm / count(apart, pairs)
    return masked_mean(apart.square(), pairs)


@register(
    "cc_neighbours",
    family="hidden",
    source="the form of correlation congruence in HobbitLong/RepDistiller (by mail of its authors)",
    formula="1 / (B - 1) * sum_i sum_h |x_s - x_t|_ih * |x_s - x_t|_(i+1)h",
    per="row",
    min_rows=2,
)
def cc_neighbours(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, pool: Pool = "mean") -> Tensor:
    """Products of the differences of neighbours in the batch: no kernel, and another value in another order.

    pool: the mean of the valid positions or the first one. Scalar.
    """
    need_rows(student, 2)
    student, teacher = aligned(student, teacher, mask)
    valid = valid_rows(mask, pool)
    order = valid_first(valid)
    apart = (pooled(student, mask, pool) - pooled(teacher, mask, pool)).abs()[order]
    return masked_mean((apart[:-1] * apart[1:]).sum(1), None if valid is None else valid[order][1:])


@register(
    "pkt",
    family="hidden",
    source="Probabilistic knowledge transfer, Passalis & Tefas 2018, arXiv:1803.10837",
    formula="1 / B^2 * sum_ij p_t log(p_t / p_s), p_ij = (1 + cos(x_i, x_j)) / sum_j (1 + cos(x_i, x_j))",
    any_width=True,
    per="row",
    min_rows=2,
)
def pkt(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, eps: Positive = 1e-7, pool: Pool = "mean"
) -> Tensor:
    """KL divergence of the student's similarities, as probabilities of meeting a sample, from the teacher's.

    The mean runs over all B^2 entries, therefore weights of 10^4 are usual. eps: added to lengths and inside the
    logarithm. pool: the mean of the valid positions or the first one. Scalar.
    """
    *vectors, valid = observations(student, teacher, mask, pool)
    pairs = outer(valid)
    p_s, p_t = (_meeting(x, pairs, eps) for x in vectors)
    return masked_mean(p_t * ((p_t + eps) / (p_s + eps)).log(), pairs)


def _meeting(x: Tensor, pairs: Tensor | None, eps: float) -> Tensor:
    x = x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + eps)
    closeness = fill((x @ x.T + 1) / 2, pairs)
    return closeness / closeness.sum(1, keepdim=True).clamp(min=eps)  # a sample counts itself: only padding is near 0
