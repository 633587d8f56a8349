"""KDSVD: the directions in which the channels of a layer vary most, and how they lie to those of the next layer.

The cost is that of a singular value decomposition of each sample, forward and backward, and of H x H tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from textkd.losses.masking import aligned, mean_of_samples
from textkd.losses.options import Positive, Range
from textkd.losses.registry import register
from textkd.losses.relations.parts import need_tokens, same_layers, unit

SPARE = 3  # so many more directions of the student are looked through for those of the teacher, as in the original


@register(
    "kdsvd",
    family="hidden",
    source="Lee et al. 2018, arXiv:1807.06819; code: HobbitLong/RepDistiller",
    formula="sum over layers, mean over samples of sum_ij (R_s - R_t)^2, R_ij = exp(-(v_l,i - v_(l+1),j)^2 / w)",
    per="row",
    arity="layers",
    distinct=True,
    tokens=True,
)
def kdsvd(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    directions: Annotated[int, Range(1)] = 1,
    width: Positive = 8.0,
    signs: Literal["largest", "solver"] = "largest",
) -> Tensor:
    """Compares RBF relations between the leading right singular vectors of a layer and those of the next one.

    Takes lists of 2 layers or more, [B,T,H] each: [T,H] of every sample is decomposed. directions: so many of the
    teacher; the student's are those among its first `directions` + 3 that lie closest, with the teacher's sign, scaled
    by the teacher's singular values. width: w. signs: a singular vector's sign is free; "largest" makes its largest
    entry positive, "solver" leaves it to the linear algebra library (the original; a batch may then flip). The sum runs
    over H x H entries. Where singular values coincide or vanish the vectors are undefined, and the gradient through
    them is 0. Scalar.
    """
    same_layers("kdsvd", student, teacher, least=2)
    need_tokens("kdsvd", *student, *teacher)
    before: tuple[Tensor, Tensor] | None = None
    losses = []
    for s, t in zip(student, teacher, strict=True):
        s, t = aligned(s, t, mask)
        values, v_t = _leading(t, directions, signs)
        _, v_s = _leading(s, directions + SPARE, signs)
        scale = unit(values)[:, None]
        now = _closest(v_s, v_t) * scale, v_t * scale
        if before is not None:
            r_s, r_t = (_rbf(v, u, width) for v, u in zip(now, before, strict=True))
            losses.append(mean_of_samples((r_s - r_t).square().sum((1, 2, 3)), mask))
        before = now
    return torch.stack(losses).sum()


def _rbf(v: Tensor, u: Tensor, width: float) -> Tensor:
    """[B,H,k] and [B,H',k] -> [B,H,H',k]."""
    return (-(v[:, :, None] - u[:, None]).square() / width).exp()


def _leading(x: Tensor, directions: int, signs: str) -> tuple[Tensor, Tensor]:
    """[B,T,H] -> the largest singular values [B,k] and their right vectors [B,H,k], k at most `directions`."""
    values, vectors = _RightVectors.apply(x, directions)  # type: ignore[no-untyped-call]
    if signs == "largest":
        peak = vectors.detach().gather(1, vectors.detach().abs().argmax(1, keepdim=True))
        vectors = vectors * torch.where(peak < 0, -1.0, 1.0)
    return values, vectors


def _closest(own: Tensor, its: Tensor) -> Tensor:
    """For each vector of `its` [B,H,k] the one of `own` [B,H,n] with the largest |cosine|, turned to the same side."""
    cosine = (own.transpose(1, 2) @ its).detach()
    best = cosine.abs().argmax(1, keepdim=True)
    sign = cosine.gather(1, best).sign()
    return own.gather(2, best.expand(-1, own.shape[1], -1)) * sign


class _RightVectors(torch.autograd.Function):
    """Leading singular values (without gradient) and right singular vectors, with a gradient that stays finite.

    The gradient of `torch.linalg.svd` divides by differences of all squared singular values, also of those that are
    not asked for: padding makes many of them 0, and 0 / 0 spoils the rest. Here a quotient of a difference that is
    nothing but rounding counts as 0. Vectors of vanishing singular values are 0.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, directions: int) -> tuple[Tensor, Tensor]:
        left, values, right = torch.linalg.svd(x, full_matrices=False)
        vectors = right.transpose(1, 2)
        ctx.save_for_backward(left, values, vectors)
        there = values > _rounding(values)
        wanted = vectors[..., :directions] * there[:, None, :directions]
        leading = values[:, :directions].clone()
        ctx.mark_non_differentiable(leading)
        return leading, wanted

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, gradient: Tensor) -> tuple[Tensor, None]:
        left, values, vectors = ctx.saved_tensors
        floor = _rounding(values)
        there = (values > floor).to(values.dtype)
        k = gradient.shape[-1]
        given = torch.zeros_like(vectors)
        given[..., :k] = gradient * there[:, None, :k]
        squares = values.square()
        gaps = squares[:, None] - squares[:, :, None]
        turned = vectors.transpose(1, 2) @ given
        within = (turned - turned.transpose(1, 2)) * _quotient(gaps, floor[..., None] * values[:, :1, None])
        outside = given - vectors @ turned
        inner = (values[..., None] * within) @ vectors.transpose(1, 2)
        return left @ (inner + _quotient(values, floor)[..., None] * outside.transpose(1, 2)), None


def _rounding(values: Tensor) -> Tensor:
    """[B,1] below which a singular value (or a difference of two) is rounding."""
    return values[:, :1] * (64 * torch.finfo(values.dtype).eps)


def _quotient(x: Tensor, floor: Tensor) -> Tensor:
    """1 / x, and 0 where |x| is not above `floor`."""
    there = x.abs() > floor
    return torch.where(there, 1 / torch.where(there, x, 1.0), 0.0)
