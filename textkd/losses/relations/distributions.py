"""The samples (or tokens) of a batch as a cloud of points: MMD, CORAL and CKA. Taps [B,T,H] (mask [B,T]) or [B,H].
n: number of points, H: width, X: the matrix [n,H] of points less their mean."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from textkd.losses.masking import aligned, count, fill, masked_mean
from textkd.losses.options import Positive, Range
from textkd.losses.pooling import Pool
from textkd.losses.registry import register
from textkd.losses.relations.parts import centred, observations, outer, squared_distances, valid_first

Cloud = Literal["mean", "first", "tokens"]


@register(
    "mmd",
    family="hidden",
    source="Long et al. 2015, arXiv:1502.02791; code: easezyc/deep-transfer-learning",
    formula="mean_ij of k(s_i,s_j) + k(t_i,t_j) - k(s_i,t_j) - k(t_i,s_j), k = sum_m exp(-d^2 / (w f^(m - M/2)))",
    per="row",
    min_rows=2,
)
def mmd(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    kernels: Annotated[int, Range(1)] = 5,
    factor: Positive = 2.0,
    estimate: Literal["all", "neighbours"] = "all",
    pool: Pool = "mean",
) -> Tensor:
    """Squared maximum mean discrepancy of the student's vectors from the teacher's, under a sum of RBF kernels.

    Compares the clouds, not sample with sample. kernels: how many (M); the middle one is as wide as the mean squared
    distance w within the batch (no gradient through it), each of the others by `factor` wider than the one before.
    estimate: over "all" pairs, or only pairs of "neighbours" in the batch (unbiased, may be negative). pool: the mean
    of the valid positions or the first one. Scalar.
    """
    aligned(student, teacher)  # one width: the points of both sides lie in one space
    x_s, x_t, valid = observations(student, teacher, mask, pool)
    both = None if valid is None else torch.cat([valid, valid])
    apart = fill(squared_distances(torch.cat([x_s, x_t])), outer(both))
    points = count(apart[0], both)
    width = apart.detach().sum() / (points**2 - points).clamp(min=1) / factor ** (kernels // 2)
    width = width.clamp(min=torch.finfo(apart.dtype).tiny)
    kernel = torch.stack([(-apart / (width * factor**m)).exp() for m in range(kernels)]).sum(0)
    half = len(x_s)
    by_pair = kernel[:half, :half] + kernel[half:, half:] - kernel[:half, half:] - kernel[half:, :half]
    if estimate == "all":
        return masked_mean(by_pair, outer(valid))
    here = torch.arange(half, device=apart.device)[valid_first(valid)]
    last = half if valid is None else valid.sum().clamp(min=1)
    following = here[torch.arange(1, half + 1, device=apart.device) % last]  # a ring of the samples that count
    return masked_mean(by_pair[here, following], None if valid is None else valid[here])


@register(
    "coral",
    family="hidden",
    source="Deep CORAL, Sun & Saenko 2016, arXiv:1607.01719; features, scatter: easezyc/deep-transfer-learning",
    formula="1 / (4 H^2) * || X_s^T X_s / (n-1) - X_t^T X_t / (n-1) ||_F^2",
    per="row",
    min_rows=2,
)
def coral(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    centre: Literal["samples", "features"] = "samples",
    scatter: bool = False,
    pool: Cloud = "mean",
) -> Tensor:
    """Compares the covariances of the dimensions.

    centre: subtract the mean over the "samples", as a covariance does, or each sample's mean over its "features" (a
    widespread slip). scatter: without the division by n - 1. pool: one point per sample, the "mean" of the valid
    positions or the "first" one, or all "tokens" of the batch. Scalar.
    """
    aligned(student, teacher)
    *vectors, valid = observations(student, teacher, mask, pool)
    covariances = []
    for x in vectors:
        x = centred(x, valid) if centre == "samples" else fill(x - x.mean(1, keepdim=True), valid)
        covariances.append(x.T @ x if scatter else x.T @ x / (count(x[:, 0], valid) - 1).clamp(min=1))
    return (covariances[0] - covariances[1]).square().sum() / (4 * student.shape[-1] ** 2)


@register(
    "cka",
    family="hidden",
    source="Kornblith et al. 2019, arXiv:1905.00414 (linear CKA)",
    formula="1 - || X_s^T X_t ||_F^2 / (|| X_s^T X_s ||_F * || X_t^T X_t ||_F)",
    any_width=True,
    per="row",
    min_rows=2,
)
def cka(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, pool: Cloud = "mean") -> Tensor:
    """One minus the linear centred kernel alignment: 0 where one cloud is the other turned and scaled.

    pool: one point per sample, the "mean" of the valid positions or the "first" one, or all "tokens" of the batch (more
    points than dimensions are needed, or everything is aligned). Scalar.
    """
    *vectors, valid = observations(student, teacher, mask, pool)
    x_s, x_t = (centred(x, valid) for x in vectors)
    if len(x_s) < x_s.shape[1] + x_t.shape[1]:  # the same numbers from n x n instead of H x H
        k_s, k_t = x_s @ x_s.T, x_t @ x_t.T
        shared = (k_s * k_t).sum()
    else:
        k_s, k_t = x_s.T @ x_s, x_t.T @ x_t
        shared = (x_s.T @ x_t).square().sum()
    sizes: Tensor = torch.linalg.vector_norm(k_s) * torch.linalg.vector_norm(k_t)
    return 1 - shared / sizes.clamp(min=torch.finfo(sizes.dtype).tiny)
