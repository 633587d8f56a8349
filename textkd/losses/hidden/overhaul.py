"""Feature distillation before an activation (OFD): only what the activation lets through has to agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from textkd.losses.hidden.vectors import PER_ROW, Reduction, reduce_elements
from textkd.losses.masking import aligned, expand, fill
from textkd.losses.modules import options_of, width_of
from textkd.losses.options import Positive
from textkd.losses.registry import register
from textkd.losses.relations.parts import same_layers
from textkd.losses.shapes import Shape

_EPS = 1e-6


def partial_l2(student: Tensor, teacher: Tensor, margin: Tensor, mask: Tensor | None, reduction: Reduction) -> Tensor:
    """The squared difference from max(t, margin), but 0 where both sides are cut off anyway: s <= max(t, margin) <= 0.

    student, teacher: [...,H]. margin: [H], at most 0. reduction: see `reduce_elements`. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    target = torch.maximum(teacher, margin.to(teacher.dtype))
    counts = (student > target) | (target > 0)
    return reduce_elements((student - target).square() * counts, mask, reduction)


@register(
    "overhaul",
    family="hidden",
    source="Overhaul (OFD), Heo et al. 2019, arXiv:1904.01866; code: clovaai/overhaul-distillation",
    formula="sum over layers of 1/2^(n-1-i) * mean of (s - max(t,m))^2 unless s <= max(t,m) <= 0",
    arity="layers",
    per_row_if=PER_ROW,
)
class Overhaul(nn.Module):
    """Partial squared distance from the teacher's features before an activation, cut at a margin below zero.

    Meant for `ffn` taps (before GELU). After a layer norm negative values say as much as positive ones, and this loss
    drops them. student, teacher: lists of [B,T,H] or [B,H], shallow to deep.

    margin m of a dimension, the mean of the teacher's negative values: "running" over everything seen, or of this
    "batch" (the original takes it from the teacher's batch norm, which transformers do not have). batch_norm:
    normalises the student over valid positions first, as the original's connector does behind its projection.
    reduction: see `reduce_elements`; the original has "per_sample". earlier: the weight of a layer relative to the next
    deeper one. Scalar.
    """

    def __init__(
        self,
        student: Sequence[Shape],
        teacher: Sequence[Shape],
        *,
        margin: Literal["running", "batch"] = "running",
        batch_norm: bool = True,
        reduction: Reduction = "mean",
        earlier: Positive = 0.5,
    ) -> None:
        super().__init__()
        self.margin, self.reduction, self.earlier = margin, reduction, earlier
        self.margins = nn.ModuleList(NegativeMean(width_of(shape, "overhaul")) for shape in teacher)
        norms = (PositionNorm(width_of(shape, "overhaul")) for shape in student)
        self.norms = nn.ModuleList(norms) if batch_norm else None

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        same_layers("overhaul", student, teacher)
        terms = []
        for i, (s, t, margins) in enumerate(zip(student, teacher, self.margins, strict=True)):
            margin = margins(t, mask, running=self.margin == "running")
            s = s if self.norms is None else self.norms[i](s, mask)
            terms.append(partial_l2(s, t, margin, mask, self.reduction) * self.earlier ** (len(student) - 1 - i))
        return torch.stack(terms).sum()

    def extra_repr(self) -> str:
        return options_of(self, "margin", "reduction", "earlier")


class NegativeMean(nn.Module):
    """The mean of the negative values of each dimension [H], of one batch or of all that were seen in training."""

    mean: Tensor
    seen: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("seen", torch.zeros(width, dtype=torch.long))

    @torch.no_grad()
    def forward(self, x: Tensor, mask: Tensor | None, running: bool) -> Tensor:
        x = fill(x, mask).flatten(0, -2)
        count = (x < 0).sum(0)
        total = x.clamp(max=0).sum(0)
        if not running:
            return total / (count + _EPS)  # in float32, as the original also for wider features
        if self.training:
            self.seen += count
            self.mean += ((total - count * self.mean) / self.seen.clamp(min=1)).to(self.mean.dtype)
        return self.mean


class PositionNorm(nn.Module):
    """Batch norm over the valid positions, always with the statistics of the batch: [B,T,H] or [B,H]."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), eps

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        rows = fill(x, mask).flatten(0, -2)
        valid = torch.ones_like(rows[:, :1]) if mask is None else expand(mask, x).reshape(-1, 1).to(x.dtype)
        size = valid.sum().clamp(min=1)
        centred = (rows - rows.sum(0) / size) * valid
        scale = self.weight.to(x.dtype) * torch.rsqrt(centred.square().sum(0) / size + self.eps)
        return (centred * scale + self.bias.to(x.dtype)).view_as(x)
