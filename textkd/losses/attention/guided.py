"""Where a decoder looks, told by where the labels stand in the image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import fail
from textkd.losses.masking import fill, pair_mask, widen
from textkd.losses.modules import options_of
from textkd.losses.options import Positive
from textkd.losses.registry import register
from textkd.losses.shapes import Shape
from textkd.models.conventions import IGNORED

FLOOR = 1e-6  # of the attention near a mark; a head that looks elsewhere costs 14, not infinity


@register(
    "guided",
    family="attention",
    source="Tachibana et al. 2018, arXiv:1710.08969, with marks in place of their diagonal",
    formula="sum over labels with a mark, mean over heads, of -log sum over columns of A exp(-(column - mark)^2 / 2 "
    "width^2) / number of labels",
    needs=("marks",),
    needs_teacher=False,
    per="position",
)
class GuidedAttention(nn.Module):
    """Draws a decoder's cross-attention to the place in the image where each label stands; needs no teacher.

    An encoder that knows letters does not tell a decoder where to look, which a decoder with random weights finds out
    slowly. Meant for the first share of a training: schedule: {kind: linear, start: 1, end: 0, until: 0.2}.

    student [B,h,T,S]: attention of T targets over S positions of the encoder, special tokens (CLS) first, then the
    patches; labels [B,T], -100 = none; mask [B,T,S]. marks [B,T]: where in the image a label stands, share of its
    width, NaN where not known; such labels add nothing. width: how many columns of patches off is near, one standard
    deviation. Attention to special tokens counts as looking elsewhere. Scalar.
    """

    def __init__(self, student: Shape, labels: Shape, *, width: Positive = 1.5, grid: Any = None) -> None:
        super().__init__()
        if grid is None:
            fix = "tap: decoder.cross_attention:k of a model with a ViT or DeiT encoder"
            raise fail("the loss guided", "the tap does not look at the patches of an image", fix=fix)
        self.width, self.grid = width, grid

    def extra_repr(self) -> str:
        return options_of(self, "width")

    def forward(self, student: Tensor, labels: Tensor, mask: Tensor | None = None, *, marks: Tensor) -> Tensor:
        attention = widen(fill(student, pair_mask(mask)))[..., self.grid.special :]
        columns = attention.reshape(*attention.shape[:-1], self.grid.height, self.grid.width).sum(-2)
        valid = labels != IGNORED
        known = valid & ~marks.isnan()
        middles = torch.arange(self.grid.width, device=columns.device) + 0.5
        away = (middles - torch.where(known, marks, 0.0)[..., None] * self.grid.width) / self.width
        near = (columns * torch.exp(-0.5 * away.square())[:, None]).sum(-1)
        cost = -(near + FLOOR).log().mean(1)
        return torch.where(known, cost, 0.0).sum() / valid.sum().clamp(min=1)
