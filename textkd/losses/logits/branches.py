"""Exits on one trunk, which learn together. The logits of each exit are [B,C] (mask [B] or None) or [B,T,V] (mask
[B,T]); labels [B] or [B,T], -100: none. The target is a part of the student: its last exit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.logits.targets import cross_entropy_rows
from textkd.losses.masking import fill, masked_mean, widen
from textkd.losses.options import Fraction, Positive
from textkd.losses.registry import register
from textkd.losses.shapes import Shape


@register(
    "multi_exit",
    family="logits",
    source="Phuong & Lampert 2019, Distillation-based training for multi-exit architectures; "
    "code: mary-phuong/multiexit-distillation",
    formula="sum over exits of (1-c) H(y, p_i) + c T^2 H(p_t, p_i); T grows while mean max p_t > maxprob",
    needs=("labels",),
    min_classes=2,
    arity="layers",
    to_target="stops",
    distinct=True,
)
class MultiExit(nn.Module):
    """All exits learn the labels; all but the last also learn what the last one says, softened more and more.

    student: the logits of all exits, the last one at the end. teacher: the logits to learn from at its end (the
    student's own last exit, detached). share: c, how much the distribution counts beside the labels (there also in the
    last exit, whose only term is 1-c). temperature: T at the start. growth: T is multiplied by it after every batch (of
    training) in which the target's largest softened probability is above maxprob, mean over valid rows; 1 keeps T, as
    the code's constant form does. The state is the number of such batches. As in the code these are
    cross entropies, not KL divergences: the same gradient. Scalar.
    """

    raises: Tensor

    def __init__(
        self,
        student: Sequence[Shape],
        teacher: Sequence[Shape],
        *,
        share: Fraction = 0.5,
        temperature: Positive = 1.0,
        growth: Positive = 1.05,
        maxprob: Fraction = 0.5,
    ) -> None:
        super().__init__()
        if len(student) < 2:
            raise fail("the loss multi_exit", f"{len(student)} exit", fix="give the logits of two exits or more")
        self.share, self.start, self.growth, self.maxprob = share, temperature, growth, maxprob
        self.register_buffer("raises", torch.zeros((), dtype=torch.long))

    def extra_repr(self) -> str:
        options = f"share={self.share}, temperature={self.start}, growth={self.growth}, maxprob={self.maxprob}"
        return f"{options}, raises={int(self.raises)}"

    def temperature(self, like: Tensor) -> Tensor:
        """T of the next step, 0-dim in the type of `like`."""
        t: Tensor = self.start * self.growth ** self.raises.to(like.dtype)
        return t

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None, *, labels: Tensor
    ) -> Tensor:
        target = fill(widen(teacher[-1].detach()), mask)
        t = self.temperature(target)
        p = F.softmax(target / t, dim=-1)
        total = (1.0 - self.share) * _labels(student, labels, mask)
        for logits in student[:-1]:
            log_s = F.log_softmax(fill(widen(logits), mask) / t, dim=-1)
            total = total + self.share * t.square() * masked_mean(-(p * log_s).sum(-1), mask)
        if self.training:
            self.raises += (masked_mean(p.amax(-1), mask) > self.maxprob).long()
        return total


def _labels(logits: Sequence[Tensor], labels: Tensor, mask: Tensor | None) -> Tensor:
    """Sum over the exits of the cross entropy of the labels."""
    rows = [cross_entropy_rows(z, labels, mask) for z in logits]
    return torch.stack([masked_mean(values, known) for values, known in rows]).sum()
