"""Losses on attention: probabilities (family "attention") and raw scaled scores without mask (family "scores"), both
[B,h,Tq,Tk]. mask: [B,T] positions, or [B,Tq,Tk] pairs for causal and cross attention (see `masking.pair_mask`)."""

from __future__ import annotations

from torch import Tensor

from textkd.losses.masking import aligned, masked_mean, pair_mask
from textkd.losses.options import Positive
from textkd.losses.registry import register


@register(
    "mse",
    eats="attention",
    source="TinyBERT, Jiao et al. 2020, arXiv:1909.10351 (there also over padded positions)",
    formula="mean over heads and valid query x key pairs of (A_s - A_t)^2",
)
@register(
    "mse",
    eats="scores",
    source="TinyBERT, Jiao et al. 2020, arXiv:1909.10351, which compares scores before softmax",
    formula="mean over heads and valid query x key pairs of (S_s - S_t)^2",
)
def mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference over heads and the valid query x key pairs. Scalar."""
    pairs = pair_mask(mask)
    student, teacher = aligned(student, teacher, pairs)
    return masked_mean((student - teacher).square(), pairs)


@register(
    "kl",
    eats="attention",
    source="MobileBERT, Sun et al. 2020, arXiv:2004.02984; MiniLM, arXiv:2002.10957",
    formula="mean over heads and valid query rows of sum over valid keys of A_t log(A_t / A_s)",
    per="position",
)
def kl(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, eps: Positive = 1e-12) -> Tensor:
    """KL divergence of the student's attention from the teacher's, over keys.

    Takes probabilities, not scores: rows sum to 1 over the valid keys. eps: floor of a probability inside the
    logarithm, on both sides, so a key that one side gives 0 costs log(1/eps), not infinity. Scalar.
    """
    pairs = pair_mask(mask)
    student, teacher = aligned(student, teacher, pairs)
    log_ratio = teacher.clamp_min(eps).log() - student.clamp_min(eps).log()
    return masked_mean((teacher * log_ratio).sum(-1), None if pairs is None else pairs.any(-1))
