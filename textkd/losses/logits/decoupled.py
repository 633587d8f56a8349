"""Decoupled knowledge distillation: what the teacher says about the label, and what it says about all others."""

from __future__ import annotations

import torch
from torch import Tensor

from textkd.errors import fail
from textkd.losses.logits.softened import kl_rows, log_probabilities
from textkd.losses.masking import expand, masked_mean
from textkd.losses.options import NonNegative, Positive
from textkd.losses.registry import register
from textkd.models.conventions import IGNORED


@register(
    "dkd",
    family="logits",
    source="Zhao et al. 2022, arXiv:2203.08679; code: megvii-research/mdistiller",
    formula="T^2 / N * sum over rows of alpha KL(b_t || b_s) + beta KL(q_t || q_s), b = [p_y, 1 - p_y], "
    "q = p without y, to sum 1",
    needs=("labels",),
    min_classes=2,
    reads="softmax",
)
def dkd(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    labels: Tensor,
    alpha: NonNegative = 1.0,
    beta: NonNegative = 8.0,
    temperature: Positive = 4.0,
    standardise: bool = False,
) -> Tensor:
    """KL split into the label's part and that of all other classes, each with a weight of its own.

    labels: class ids [B] or [B,T]; a row without one (-100) does not count. alpha: weight of label against rest.
    beta: weight of the others among themselves, 0 for two classes (nothing is left to compare). temperature,
    standardise: as in `kl`; always times T^2. The authors raise the weight over 20 epochs: a schedule of the match.
    Scalar.
    """
    if labels.shape != student.shape[:-1]:
        found = f"labels {list(labels.shape)}, logits {list(student.shape)}"
        raise fail("one label per row of logits", found, fix="give class ids [B] for [B,C] or [B,T] for [B,T,V]")
    valid = labels != IGNORED
    if mask is not None:
        valid = valid & expand(mask, labels)
    log_s, log_t = log_probabilities(student, teacher, valid, temperature, standardise)
    at = torch.where(valid, labels, 0).long().unsqueeze(-1)
    binary_s, others_s = _split(log_s, at)
    binary_t, others_t = _split(log_t, at)
    rows = alpha * kl_rows(binary_t, binary_s) + beta * kl_rows(others_t, others_s)
    return temperature**2 * masked_mean(rows, valid)


def _split(log_p: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """log of [p_y, 1 - p_y], and log p of the others among themselves; there the label is impossible."""
    never = torch.finfo(log_p.dtype).min / 4  # finite: 0 times a difference of two of these is 0, of infinities NaN
    others = log_p.scatter(-1, at, never)
    rest = others.logsumexp(-1, keepdim=True)
    return torch.cat([log_p.gather(-1, at), rest], -1), others - rest
