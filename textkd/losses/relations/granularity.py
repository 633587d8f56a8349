"""MGSKD's relations inside a text, of its tokens or of phrases. (Its relation between texts is `rkd_angle` with heads.)
Taps [B,T,H], mask [B,T]; student and teacher may have any two widths. The cost is that of `heads` (64) T x T tables."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.losses.masking import fill
from textkd.losses.options import Range
from textkd.losses.registry import register
from textkd.losses.relations.parts import need_tokens, sides, split_heads, unit

AtLeastOne = Annotated[int, Range(1)]


@register(
    "mgskd_tokens",
    family="hidden",
    source="MGSKD, Liu et al. 2022, arXiv:2204.00246; code: LC97-pku/MGSKD",
    formula="mean over heads and pairs of (x x^T / sqrt(d))_s - same_t squared, + mean over triples of huber(a_s, a_t)",
    any_width=True,
    per="pair",
    tokens=True,
)
def mgskd_tokens(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    heads: AtLeastOne = 64,
    corners: AtLeastOne = 20,
    neighbours: AtLeastOne = 20,
    span: AtLeastOne = 1,
) -> Tensor:
    """Compares the tokens of a text by inner products, and the angles of the triangles that matter to the teacher.

    heads: the vectors are cut into so many parts for the inner products. corners (k1): tokens that the teacher's tokens
    attend to most (softmax of the inner products); neighbours (k2): to which each corner attends most; angles at each
    corner between all pairs of its neighbours. span: 1 compares tokens; with more, the means of so many tokens in a
    row, which stand in for phrases (the original takes phrases from a parser; `pool_spans` pools those). Scalar.
    """
    need_tokens("mgskd_tokens", student, teacher)
    student, teacher = sides(student, teacher, mask)
    valid = torch.ones(student.shape[:2], dtype=torch.bool, device=student.device) if mask is None else mask != 0
    if span > 1:
        spans = (torch.arange(student.shape[1], device=student.device) // span).expand(student.shape[:2])
        (student, kept), (teacher, _) = pool_spans(student, spans, valid), pool_spans(teacher, spans, valid)
        valid = kept
    dots_s, dots_t = (_dots(x, heads) for x in (student, teacher))  # 0 at padding, as the vectors are
    by_pairs = (dots_s - dots_t).square().sum() / (heads * valid.sum(1).square().sum()).clamp(min=1)
    where = _salient(dots_t, valid, min(corners, valid.shape[1]), min(neighbours, valid.shape[1]))
    return by_pairs + _triangles(student, teacher, valid, *where)


def pool_spans(x: Tensor, spans: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Means of the valid positions of each span: [B,T,H] -> [B,P,H], and which of the P exist [B,P].

    spans [B,T]: the number of the span that a position belongs to, from 0; negative where it belongs to none.
    """
    belongs = F.one_hot(spans.clamp(min=-1) + 1)[..., 1:].to(x.dtype)
    if mask is not None:
        belongs = belongs * (mask != 0)[..., None]
    sizes = belongs.sum(1)
    return belongs.transpose(1, 2) @ fill(x, mask) / sizes.clamp(min=1)[..., None], sizes > 0


def _dots(x: Tensor, heads: int) -> Tensor:
    """[B,T,H] -> [B,heads,T,T], scaled as attention is."""
    parts = split_heads(x, heads, "mgskd_tokens").transpose(1, 2)
    return parts @ (parts / math.sqrt(parts.shape[-1])).transpose(-1, -2)


@torch.no_grad()
def _salient(dots: Tensor, valid: Tensor, corners: int, neighbours: int) -> tuple[Tensor, Tensor]:
    """Which tokens get most attention [B,corners], and which get most from each of those [B,corners,neighbours]."""
    attention = dots.masked_fill(~valid[:, None, None], torch.finfo(dots.dtype).min).softmax(-1)
    attention = fill(attention.sum(1), valid)
    chosen = attention.sum(1).topk(corners, dim=1).indices
    others = attention.masked_fill(torch.eye(dots.shape[-1], dtype=torch.bool, device=dots.device), 0.0)
    nearest = others.topk(neighbours, dim=2).indices
    return chosen, nearest.gather(1, chosen[..., None].expand(-1, -1, neighbours))


def _triangles(student: Tensor, teacher: Tensor, valid: Tensor, chosen: Tensor, nearest: Tensor) -> Tensor:
    """Mean Huber error of the angles at the chosen tokens between their nearest ones."""
    a_s, a_t = (_angles(x, chosen, nearest) for x in (student, teacher))
    ends = _take(valid, nearest.flatten(1)).view(nearest.shape)
    exists = (_take(valid, chosen)[..., None] & ends)[..., None] & ends[:, :, None]
    exists = exists & ~torch.eye(nearest.shape[-1], dtype=torch.bool, device=valid.device)
    counted = (exists & (a_s.detach() != 0)).sum()  # a corner among its own neighbours has the angle 0
    error = F.smooth_l1_loss(a_s, a_t, reduction="none")
    return torch.where(exists, error, 0.0).sum() / counted.clamp(min=1)


def _angles(x: Tensor, chosen: Tensor, nearest: Tensor) -> Tensor:
    """[B,T,H] -> [B,corners,neighbours,neighbours] cosines."""
    towards = unit(_take(x, chosen)[:, :, None] - _take(x, nearest.flatten(1)).view(*nearest.shape, -1))
    return towards @ towards.transpose(-1, -2)


def _take(x: Tensor, positions: Tensor) -> Tensor:
    """x [B,T,...] at positions [B,n]: [B,n,...]."""
    return x[torch.arange(len(x), device=x.device)[:, None], positions]
