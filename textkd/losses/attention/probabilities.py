"""Losses on attention: probabilities (family "attention") and raw scaled scores without mask (family "scores"), both
[B,h,Tq,Tk]. mask: [B,T] positions, or [B,Tq,Tk] pairs for causal and cross attention (see `masking.pair_mask`).

Where student and teacher have other numbers of heads, `heads` makes one map of each side's heads first."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import aligned, fill, masked_mean, mean_of_samples, mean_square, pair_mask, widen
from textkd.losses.options import Positive
from textkd.losses.registry import register

Heads = Literal["same", "mean", "sum"]


@register(
    "mse",
    family="attention",
    source="TinyBERT, Jiao et al. 2020, arXiv:1909.10351 (pairs: all); heads: sum is TextBrewer's attention_mse_sum",
    formula="mean over heads and valid query x key pairs of (A_s - A_t)^2",
    any_width_if={"heads": ("mean", "sum")},
    padded_if={"pairs": ("all",)},
)
@register(
    "mse",
    family="scores",
    source="TinyBERT, Jiao et al. 2020, arXiv:1909.10351, which compares scores before softmax (pairs: all)",
    formula="mean over heads and valid query x key pairs of (S_s - S_t)^2",
    any_width_if={"heads": ("mean", "sum")},
    padded_if={"pairs": ("all",)},
)
def mse(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    heads: Heads = "same",
    pairs: Literal["valid", "all"] = "valid",
    zero_below: float | None = None,
) -> Tensor:
    """Mean squared difference over heads and the valid query x key pairs.

    heads: "mean" or "sum" of each side's heads where their numbers differ. pairs: what the sum is divided by; with
    "all" padded pairs count as equal (TinyBERT). zero_below: values at or below it count as 0 on both sides, for scores
    with the mask added (TinyBERT -100; TextBrewer without mask -0.001). Scalar.
    """
    valid = pair_mask(mask)
    student, teacher, valid = _of_heads(student, teacher, valid, heads)
    if zero_below is None and pairs == "valid":
        return mean_square(student, teacher, valid)
    student, teacher = aligned(student, teacher, valid)
    if zero_below is not None:
        student, teacher = (torch.where(x <= zero_below, 0.0, x) for x in (student, teacher))
    squares = (student - teacher).square()
    if pairs == "all":
        return mean_of_samples(squares.flatten(1).mean(1), valid)
    return masked_mean(squares, valid)


@register(
    "kl",
    family="attention",
    source="MobileBERT, Sun et al. 2020, arXiv:2004.02984; MiniLM, arXiv:2002.10957",
    formula="mean over heads and valid query rows of sum over valid keys of A_t log(A_t / A_s)",
    per="position",
)
def kl(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, eps: Positive = 1e-12) -> Tensor:
    """KL divergence of the student's attention from the teacher's, over keys.

    Takes probabilities, not scores: rows sum to 1 over the valid keys. eps: floor of a probability inside the
    logarithm, on both sides, so a key that one side gives 0 costs log(1/eps), not infinity. Scalar.
    """
    valid = pair_mask(mask)
    student, teacher = aligned(student, teacher, valid)
    log_ratio = teacher.clamp_min(eps).log() - student.clamp_min(eps).log()
    return masked_mean((teacher * log_ratio).sum(-1), _rows(valid))


@register(
    "cross_entropy",
    family="attention",
    source="MobileBERT, Sun et al. 2020, arXiv:2004.02984, without the teacher's entropy, which is constant",
    formula="mean over heads and valid query rows of -sum over valid keys of A_t log A_s",
    any_width_if={"heads": ("mean", "sum")},
    per="position",
)
def cross_entropy(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, heads: Heads = "same", eps: Positive = 1e-12
) -> Tensor:
    """Cross entropy of the student's attention with the teacher's as the target: `kl` plus the teacher's entropy.

    heads: "mean" of each side's heads where their numbers differ ("sum" does not sum to 1). eps as in `kl`. Scalar.
    """
    student, teacher, valid = _of_heads(student, teacher, pair_mask(mask), heads)
    student, teacher = aligned(student, teacher, valid)
    return masked_mean(-(teacher * student.clamp_min(eps).log()).sum(-1), _rows(valid))


@register(
    "cross_entropy",
    family="scores",
    source="TextBrewer's attention_ce and attention_ce_mean (heads: mean), arXiv:2002.12620; code: airaria/TextBrewer",
    formula="mean over heads and valid query rows of -sum over valid keys of softmax(S_t) log softmax(S_s)",
    any_width_if={"heads": ("mean", "sum")},
    padding_if={"keys": ("all",)},
    per="position",
)
def scores_cross_entropy(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    heads: Heads = "same",
    keys: Literal["valid", "all"] = "valid",
    zero_below: float | None = None,
) -> Tensor:
    """Cross entropy of the softmax of the scores over keys, with the teacher's as the target.

    heads: "mean" or "sum" of each side's scores over heads where their numbers differ. keys: over which the softmax
    runs; "all" is TextBrewer's, where the scores of padded keys matter. zero_below: the target is 0 where the teacher's
    score is at or below it (TextBrewer without mask -0.001). Scalar.
    """
    student, teacher, valid = _of_heads(student, teacher, pair_mask(mask), heads)
    counted, rows = valid if keys == "valid" else None, _rows(valid)
    student, teacher = aligned(student, teacher, rows)
    target = _log_softmax(teacher, counted).exp()
    if zero_below is not None:
        target = torch.where(teacher <= zero_below, 0.0, target)
    return masked_mean(-fill(target * _log_softmax(student, counted), valid).sum(-1), rows)


def _of_heads(
    student: Tensor, teacher: Tensor, valid: Tensor | None, heads: Heads
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Both sides with as many heads, [B,1,Tq,Tk] where they are merged."""
    if heads == "same":
        if student.dim() == teacher.dim() == 4 and student.shape[1] != teacher.shape[1]:
            found = f"one shape is needed: student {list(student.shape)}, teacher {list(teacher.shape)}"
            raise fail(
                "attention of the same heads", found, fix='heads: "mean" (or "sum") compares one map of each side'
            )
        return student, teacher, valid
    merge = torch.mean if heads == "mean" else torch.sum
    mine, its = (merge(widen(x), dim=1, keepdim=True) for x in (student, teacher))
    return mine, its, None if valid is None else valid.all(1, keepdim=True)


def _rows(valid: Tensor | None) -> Tensor | None:
    return None if valid is None else valid.any(-1)


def _log_softmax(scores: Tensor, valid: Tensor | None) -> Tensor:
    """Over the valid keys; 0 at the others."""
    # a finite fill: a row without any key stays finite, and nobody counts it
    return fill(F.log_softmax(fill(scores, valid, torch.finfo(scores.dtype).min), dim=-1), valid)
