"""A temperature of its own for every row, read from the logits of both sides."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.losses.logits.softened import PER_ROW, Reduction
from textkd.losses.logits.targets import Comparison, compare
from textkd.losses.masking import aligned, masked_mean
from textkd.losses.options import NonNegative, Positive
from textkd.losses.registry import register

Rule = Literal["flsw", "cwsm"]


@register(
    "kl_dynamic",
    family="logits",
    source="Wen et al. 2019, arXiv:1911.07471, as TextBrewer adapts it (arXiv:2002.12620); code: airaria/TextBrewer",
    formula="1 / N * sum over rows i of KL(softmax(z_t / T_i) || softmax(z_s / T_i)), T_i = T + beta (mean(w) - w_i)",
    min_classes=2,
    per_row_if=PER_ROW,
)
def kl_dynamic(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    rule: Rule = "flsw",
    temperature: Positive = 8.0,
    beta: NonNegative = 1.0,
    gamma: NonNegative = 2.0,
    floor: Positive = 0.1,
    loss: Comparison = "kl",
    scale_by_t2: bool = False,
    reduction: Reduction = "batchmean",
) -> Tensor:
    """KL divergence with a temperature per row: lower where the student is wrong or unsure, so that it sees more there.

    rule, beta, gamma and temperature (the mean): see `row_temperatures`; no row goes below floor, where the rule alone
    could reach 0. loss: what compares the logits; TextBrewer has soft_cross_entropy (the same gradient as kl) or mse.
    scale_by_t2: times the row's T^2 (TextBrewer: off). reduction: as in `kl`. Scalar.
    """
    t = row_temperatures(student, teacher, mask, rule=rule, temperature=temperature, beta=beta, gamma=gamma)
    return compare(student, teacher, mask, loss, t.clamp_min(floor), scale_by_t2, reduction)


@torch.no_grad()
def row_temperatures(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    rule: Rule = "flsw",
    temperature: float = 8.0,
    beta: float = 1.0,
    gamma: float = 2.0,
    eps: float = 1e-4,
) -> Tensor:
    """The temperature of every row [...] of the logits [...,C]: T + beta * (mean(w) - w), without gradient.

    rule "flsw" (focal loss style weights): w = (1 - cos(z_s, z_t))^gamma, with eps added to the norms; "cwsm"
    (confidence weighted by softmax): w = 1 / (max p_s + 0.001), which takes neither the teacher nor gamma. The mean
    runs over the valid rows of the batch and is T; the temperature of padded rows means nothing.
    """
    student, teacher = aligned(student, teacher, mask)
    if rule == "cwsm":
        weight = 1.0 / (F.softmax(student, dim=-1).amax(-1) + 1e-3)
    else:
        unit_s, unit_t = (z / (z.norm(dim=-1, keepdim=True) + eps) for z in (student, teacher))
        weight = (1.0 - (unit_s * unit_t).sum(-1)).clamp_min(0.0).pow(gamma)
    return temperature + beta * (masked_mean(weight, mask) - weight)
