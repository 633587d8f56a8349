"""Hierarchical context loss (HCL) of ReviewKD: agreement at every scale, from single tokens to the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from textkd.losses.masking import aligned, expand, mean_of_samples, sample_means
from textkd.losses.options import Range
from textkd.losses.registry import register
from textkd.losses.relations.parts import same_layers

PARTS = (4, 2, 1)


@register(
    "hcl",
    family="hidden",
    source="ReviewKD, Chen et al. 2021, arXiv:2104.09044; code: megvii-research/mdistiller",
    formula="sum over layers of (mse + 1/2 mse_4 + 1/4 mse_2 + 1/8 mse_1) / (15/8), mse_l: means of l parts",
    arity="layers",
    per="row",
)
def hcl(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    grid_rows: Annotated[int, Range(0)] = 0,
) -> Tensor:
    """Mean squared differences of the tokens and of the means over the quarters, halves and the whole of each sample.

    student, teacher: lists of [B,T,H] or [B,H]. The parts are those of adaptive average pooling over a sample's valid
    tokens; a sample of l tokens or fewer has no level of l parts, and the others weigh more.

    grid_rows: rows of the patches of an image, which is cut into 4x4, 2x2 and 1 squares; the T mod grid_rows special
    tokens before the patches are left out. 0: text. Scalar.
    """
    same_layers("hcl", student, teacher)
    layers = zip(student, teacher, strict=True)
    return torch.stack([_one_layer(*aligned(s, t, mask), mask, grid_rows) for s, t in layers]).sum()


def _one_layer(student: Tensor, teacher: Tensor, mask: Tensor | None, grid_rows: int) -> Tensor:
    difference = student - teacher  # pooling is linear
    difference = difference[:, None] if difference.dim() == 2 else difference
    valid = difference.new_ones(1, 1) if mask is None else mask
    valid = expand(valid, difference)[..., 0].expand(difference.shape[:2])
    if grid_rows:
        special = difference.shape[1] % grid_rows
        difference, valid = difference[:, special:], valid[:, special:]
    loss = sample_means(difference.square(), valid)
    weight = torch.ones_like(loss)
    total = weight
    for parts in PARTS:
        inside, exists = _grid_parts(valid, parts, grid_rows) if grid_rows else _text_parts(valid, parts)
        weight = torch.where(exists, weight / 2, weight)
        inside = inside.to(loss.dtype)
        means = inside @ difference / inside.sum(-1, keepdim=True).clamp(min=1)
        level = means.square().mean((1, 2))
        loss, total = loss + weight * exists * level, total + weight * exists
    return mean_of_samples(loss / total, valid)


def _text_parts(valid: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """(which tokens belong to each part [B,parts,T], whether a sample [B] has these parts)."""
    number = torch.arange(parts, device=valid.device)
    count = valid.sum(1, keepdim=True)
    begin = number * count // parts
    end = ((number + 1) * count + parts - 1) // parts
    place = (valid.cumsum(1) - 1)[:, None]
    inside = (place >= begin[..., None]) & (place < end[..., None]) & valid[:, None]
    return inside, count[:, 0] > parts


def _grid_parts(valid: Tensor, parts: int, rows: int) -> tuple[Tensor, Tensor]:
    """The same for the squares of a grid [B,parts*parts,T]."""
    along = [_text_parts(valid.new_ones(1, n), parts)[0][0] for n in (rows, valid.shape[1] // rows)]
    squares = torch.kron(along[0].int(), along[1].int()).bool()
    return squares & valid[:, None], torch.full_like(valid[:, 0], rows > parts)
