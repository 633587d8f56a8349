"""How the samples of a batch lie to each other, by distances and angles: RKD and IRG. Taps [B,T,H] (mask [B,T]) or
[B,H]; student and teacher may have any two widths. B: number of samples, x: their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from textkd.losses.masking import aligned, fill, masked_mean, mean_of_samples, sample_means
from textkd.losses.options import Range
from textkd.losses.pooling import Pool
from textkd.losses.registry import register
from textkd.losses.relations.parts import (
    EPS,
    consecutive,
    need_rows,
    observations,
    outer,
    same_layers,
    split_heads,
    squared_distances,
    unit,
)


@register(
    "rkd_distance",
    family="hidden",
    source="Relational KD, Park et al. 2019, arXiv:1904.05068; squared, max, mse: IRG, Liu et al. 2019 (CVPR)",
    formula="1 / B^2 * sum_ij huber(d_s / mean(d_s), d_t / mean(d_t)), d_ij = ||x_i - x_j||",
    any_width=True,
    per="row",
    min_rows=2,
)
def rkd_distance(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    squared: bool = False,
    scale: Literal["mean", "max"] = "mean",
    error: Literal["huber", "mse"] = "huber",
    pool: Literal["mean", "first", "flat"] = "mean",
) -> Tensor:
    """Compares the distances between samples, each side in its own unit of length.

    scale: that unit, the mean distance (RKD, without the zeros) or the largest. squared: squared distances. error:
    "huber" or "mse", its mean runs over all pairs with the diagonal. squared=True, scale="max", error="mse" are the
    edges of IRG. pool: a sample's vector is the "mean" of its valid positions, the "first" one, or all of them "flat"
    (then long samples are far from all). Scalar.
    """
    *vectors, valid = observations(student, teacher, mask, pool)
    pairs = outer(valid)
    d_s, d_t = (_distances(x, pairs, squared, scale) for x in vectors)
    apart = F.mse_loss(d_s, d_t, reduction="none") if error == "mse" else F.smooth_l1_loss(d_s, d_t, reduction="none")
    return masked_mean(apart, pairs)


def _distances(x: Tensor, pairs: Tensor | None, squared: bool, scale: str) -> Tensor:
    apart = squared_distances(x)
    if not squared:
        self_pairs = torch.eye(len(x), dtype=torch.bool, device=x.device)
        apart = apart.masked_fill(self_pairs, 1.0).sqrt().masked_fill(self_pairs, 0.0)
    apart = fill(apart, pairs)
    unit_length = apart.max() if scale == "max" else apart.sum() / (apart > 0).sum().clamp(min=1)
    return apart / unit_length.clamp(min=EPS)


@register(
    "rkd_angle",
    family="hidden",
    source="Relational KD, Park et al. 2019, arXiv:1904.05068; heads: MGSKD, Liu et al. 2022, arXiv:2204.00246",
    formula="1 / B^3 * sum_ijk huber(a_s, a_t), a_ijk = cos(x_j - x_i, x_k - x_i)",
    any_width=True,
    per="row",
    min_rows=3,
)
def rkd_angle(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    heads: Annotated[int, Range(1)] = 1,
    chunk: Annotated[int, Range(1)] = 32,
    pool: Pool = "mean",
) -> Tensor:
    """Compares the angles of all triangles of samples.

    heads: cut the vectors into so many parts and take the angles of each (64: the relation of samples in MGSKD). chunk:
    so many corners at a time, each chunk computed again in the backward pass: memory is chunk B (B + H) instead of
    B^2 (B + H), the value is the same. pool: the mean of the valid positions or the first one. Scalar.
    """
    *vectors, valid = observations(student, teacher, mask, pool, least=3)
    x_s, x_t = (split_heads(x, heads, "rkd_angle").transpose(0, 1) for x in vectors)
    pairs, total = outer(valid), student.new_zeros((), dtype=x_s.dtype)
    for start in range(0, len(student), chunk):
        corners = slice(start, start + chunk)
        if chunk < len(student) and torch.is_grad_enabled():
            total = total + checkpoint(_angle_error, x_s, x_t, pairs, corners, use_reentrant=False)
        else:
            total = total + _angle_error(x_s, x_t, pairs, corners)
    triangles = len(student) ** 3 if valid is None else valid.sum().clamp(min=1) ** 3
    return total / (heads * triangles)


def _angle_error(x_s: Tensor, x_t: Tensor, pairs: Tensor | None, corners: slice) -> Tensor:
    error = F.smooth_l1_loss(_angles(x_s, corners), _angles(x_t, corners), reduction="none")
    if pairs is not None:
        error = torch.where(pairs[corners, :, None] & pairs[corners, None, :], error, 0.0)
    return error.sum()


def _angles(x: Tensor, corners: slice) -> Tensor:
    """[h,B,d] -> [h,corners,B,B]: the cosine of the angle at corner i between the directions to j and k."""
    towards = unit(x[:, None] - x[:, corners, None])
    return towards @ towards.transpose(-1, -2)


@register(
    "irg_transformation",
    family="hidden",
    source="Instance relationship graph, Liu et al. 2019 (CVPR); code: AberHu/Knowledge-Distillation-Zoo",
    formula="mean over layers l and samples of (t_s - t_t)^2, t = ||h_l - h_(l+1)||^2 / max over samples",
    any_width=True,
    per="row",
    arity="layers",
    distinct=True,
    min_rows=2,
)
def irg_transformation(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """Compares how far each sample moves from a layer to the next one, relative to the one that moves farthest.

    Takes lists of layers. Vertices and edges of the graph are the losses `mse` on logits and `rkd_distance`. A
    sample's distance is the mean over its valid positions, not the sum, so that a long text is not a far one. Scalar.
    """
    same_layers("irg_transformation", student, teacher, least=2)
    need_rows(student[0], 2)
    own, its = ([_moves(*pair, mask) for pair in consecutive(layers)] for layers in (student, teacher))
    return torch.stack([mean_of_samples((s - t).square(), mask) for s, t in zip(own, its, strict=True)]).mean()


def _moves(layer: Tensor, following: Tensor, mask: Tensor | None) -> Tensor:
    layer, following = aligned(layer, following, mask)
    moved = sample_means((layer - following).square(), mask).clamp(min=EPS)
    return moved / moved.max()
