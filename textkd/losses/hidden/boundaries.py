"""Activation boundaries (AB): on which side of zero a neuron is, not how far."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.losses.hidden.vectors import PER_ROW, Reduction, reduce_elements
from textkd.losses.masking import aligned
from textkd.losses.options import Positive
from textkd.losses.registry import register
from textkd.losses.relations.parts import same_layers


@register(
    "activation_boundaries",
    family="hidden",
    source="AB, Heo et al. 2019, arXiv:1811.03233; code: bhheo/AB_distillation, HobbitLong/RepDistiller",
    formula="sum over layers of 1/2^(n-1-i) * mean of max(0, m - sign(t) s)^2",
    arity="layers",
    to_target="stops",
    per_row_if=PER_ROW,
)
def activation_boundaries(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    margin: Positive = 1.0,
    reduction: Reduction = "mean",
    earlier: Positive = 0.5,
) -> Tensor:
    """Squared hinge that puts the student's values before an activation on the teacher's side of zero.

    Meant for `ffn` taps (before GELU). student, teacher: lists of [B,T,H] or [B,H], shallow to deep. margin: how far
    from zero the student must be (a value of the teacher of 0 counts as negative). reduction: see `reduce_elements`;
    the original has "per_sample" with weight 0.003. earlier: the weight of a layer relative to the next deeper one.
    Scalar.
    """
    same_layers("activation_boundaries", student, teacher)
    terms = []
    for i, (s, t) in enumerate(zip(student, teacher, strict=True)):
        s, t = aligned(s, t, mask)
        hinge = F.relu(margin - torch.where(t > 0, s, -s)).square()
        terms.append(reduce_elements(hinge, mask, reduction) * earlier ** (len(student) - 1 - i))
    return torch.stack(terms).sum()
