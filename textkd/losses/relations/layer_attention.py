"""ALP-KD: each layer of the student learns from a mixture of all layers of the teacher, mixed by similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from textkd.errors import fail
from textkd.losses.masking import masked_mean
from textkd.losses.options import Positive
from textkd.losses.registry import register
from textkd.losses.relations.parts import sides, unit


@register(
    "alp",
    family="hidden",
    source="ALP-KD, Passban et al. 2021, arXiv:2012.14022 (no code of the authors)",
    formula="mean over layers i of mean of (s_i - sum_j e_ij t_j)^2, e_i = softmax over j of scale * <s_i, t_j>",
    arity="layers",
    per_row_if={"positions": ("first",)},
)
def alp(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    positions: Literal["first", "all"] = "first",
    scale: Positive = 1.0,
    normalise: bool = False,
) -> Tensor:
    """Mean squared difference of each layer of the student from the teacher's layers mixed by attention.

    Takes lists of layers; the teacher's may be more (all of them, in the paper). positions: "first" compares the first
    position ([CLS], the paper), "all" each valid position with a mixture of its own. scale: of the inner products
    before the softmax; small values mix more evenly. normalise: vectors of length 1, as in PKD. The mean over the
    student's layers, where the paper has the sum. Scalar.
    """
    if not student or not teacher:
        raise fail("the loss alp over layers", "no layers", fix="name layers of both sides")
    first = positions == "first" and student[0].dim() == 3
    if first:
        mask = None if mask is None else mask[:, 0]
        student, teacher = [x[:, 0] for x in student], [x[:, 0] for x in teacher]
    own = torch.stack([sides(s, teacher[0], mask)[0] for s in student])
    its = torch.stack([sides(student[0], t, mask)[1] for t in teacher])
    if own.shape[1:] != its.shape[1:]:
        found = f"student {list(student[0].shape)}, teacher {list(teacher[0].shape)}"
        raise fail("layers of one width", found, fix="use a projection (linear is the default)")
    if normalise:
        own, its = unit(own), unit(its)
    weights = (scale * torch.einsum("i...h,j...h->ij...", own, its)).softmax(1)
    mixed = torch.einsum("ij...,j...h->i...h", weights, its)
    return masked_mean((own - mixed).square().movedim(0, -2), mask)
