"""Divergences of two softened distributions other than the forward KL: where the student may leave out what the teacher
gives (reverse), and what lies between. All are f-divergences of p_t and p_s, 0 at a perfect match. Logits [B,C] (mask
[B]) or [B,T,V] (mask [B,T]); temperature, scale_by_t2 and reduction as in `logits.kl`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from textkd.losses.logits.chunked import Chunk
from textkd.losses.logits.softened import PER_ROW, Logits, Reduction, divergence, kl_rows
from textkd.losses.options import Fraction, NonNegative, Positive, Range
from textkd.losses.registry import register


@register(
    "reverse_kl",
    family="logits",
    source="MiniLLM, Gu et al. 2024, arXiv:2306.08543; entropy off: ENGINE, Tu et al. 2020, arXiv:2005.00850",
    formula="T^2 / N * sum over rows of KL(p_s || p_t)",
    min_classes=2,
    per_row_if=PER_ROW,
    chunkable=True,
    reads="softmax",
)
def reverse_kl(
    student: Logits,
    teacher: Logits,
    mask: Tensor | None = None,
    *,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
    reduction: Reduction = "batchmean",
    entropy: bool = True,
    chunk: Chunk = "auto",
) -> Tensor:
    """KL divergence of the teacher's distribution from the student's: seeks one mode instead of covering all.

    entropy: keep the student's entropy; off, only -sum p_s log p_t stays, whose best student gives everything to the
    teacher's first choice. Other options as in `kl`. Scalar.
    """

    def rows(log_s: Tensor, log_t: Tensor) -> Tensor:
        return kl_rows(log_s, log_t) if entropy else -(log_s.exp() * log_t).sum(-1)

    return divergence(rows, student, teacher, mask, temperature, scale_by_t2, reduction, chunk)


@register(
    "symmetric_kl",
    family="logits",
    source="DistiLLM's baseline, Ko et al. 2024, arXiv:2402.03898 (there reverse_weight 0.9)",
    formula="T^2 / N * sum over rows of (1-w) KL(p_t || p_s) + w KL(p_s || p_t)",
    min_classes=2,
    per_row_if=PER_ROW,
    chunkable=True,
    reads="softmax",
)
def symmetric_kl(
    student: Logits,
    teacher: Logits,
    mask: Tensor | None = None,
    *,
    reverse_weight: Fraction = 0.5,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
    reduction: Reduction = "batchmean",
    chunk: Chunk = "auto",
) -> Tensor:
    """Weighted sum of forward and reverse KL divergence; `reverse_weight` w is the share of the reverse one.

    Other options as in `kl`. Scalar.
    """

    def rows(log_s: Tensor, log_t: Tensor) -> Tensor:
        return (1 - reverse_weight) * kl_rows(log_t, log_s) + reverse_weight * kl_rows(log_s, log_t)

    return divergence(rows, student, teacher, mask, temperature, scale_by_t2, reduction, chunk)


@register(
    "skewed_kl",
    family="logits",
    source="DistiLLM, Ko et al. 2024, arXiv:2402.03898",
    formula="T^2 / N * sum over rows of KL(p_t || a p_t + (1-a) p_s); reverse: KL(p_s || a p_s + (1-a) p_t)",
    min_classes=2,
    per_row_if=PER_ROW,
    chunkable=True,
    reads="softmax",
)
def skewed_kl(
    student: Logits,
    teacher: Logits,
    mask: Tensor | None = None,
    *,
    skew: Annotated[float, Range(0.0, 0.99)] = 0.1,
    direction: Literal["forward", "reverse"] = "forward",
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
    reduction: Reduction = "batchmean",
    eps: NonNegative = 0.0,
    chunk: Chunk = "auto",
) -> Tensor:
    """KL divergence of a mixture from one of its parts: bounded by log(1/skew), so the gradient stays calm.

    skew a: share of the first distribution in the mixture. direction: forward starts from the teacher, reverse from
    the student (half of a Jensen-Shannon divergence). eps: added to the mixture inside the logarithm (fdistill 1e-10).
    Other options as in `kl`. Scalar.
    """

    def rows(log_s: Tensor, log_t: Tensor) -> Tensor:
        first, second = (log_t, log_s) if direction == "forward" else (log_s, log_t)
        mixed = mixture(first, second, skew)
        return kl_rows(first, (mixed.exp() + eps).log() if eps else mixed)

    return divergence(rows, student, teacher, mask, temperature, scale_by_t2, reduction, chunk)


@register(
    "jsd",
    family="logits",
    source="GKD, Agarwal et al. 2024, arXiv:2306.13649; code: huggingface/trl",
    formula="T^2 / N * sum over rows of b KL(p_t || m) + (1-b) KL(p_s || m), m = b p_t + (1-b) p_s",
    min_classes=2,
    per_row_if=PER_ROW,
    chunkable=True,
    reads="softmax",
)
def jsd(
    student: Logits,
    teacher: Logits,
    mask: Tensor | None = None,
    *,
    beta: Fraction = 0.5,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
    reduction: Reduction = "batchmean",
    chunk: Chunk = "auto",
) -> Tensor:
    """Generalised Jensen-Shannon divergence.

    beta b: weight of the teacher, in the mixture and before its term. 0 is the forward KL and 1 the reverse one: the
    limits of the formula after division by b (1-b), as GKD has them. scale_by_t2: off in GKD. Other options as in
    `kl`. Scalar.
    """

    def rows(log_s: Tensor, log_t: Tensor) -> Tensor:
        if beta in (0, 1):
            return kl_rows(log_t, log_s) if beta == 0 else kl_rows(log_s, log_t)
        mixed = mixture(log_t, log_s, beta)
        return beta * kl_rows(log_t, mixed) + (1 - beta) * kl_rows(log_s, mixed)

    return divergence(rows, student, teacher, mask, temperature, scale_by_t2, reduction, chunk)


@register(
    "total_variation",
    family="logits",
    source="f-distill, Wen et al. 2023, arXiv:2307.15190",
    formula="T^2 / N * sum over rows of 1/2 sum_c |p_s - p_t|",
    min_classes=2,
    per_row_if=PER_ROW,
    chunkable=True,
    reads="softmax",
)
def total_variation(
    student: Logits,
    teacher: Logits,
    mask: Tensor | None = None,
    *,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
    reduction: Reduction = "batchmean",
    chunk: Chunk = "auto",
) -> Tensor:
    """Total variation distance: the probability that has to be moved, 0 to 1 (at T = 1). Options as in `kl`. Scalar."""

    def rows(log_s: Tensor, log_t: Tensor) -> Tensor:
        return 0.5 * (log_s.exp() - log_t.exp()).abs().sum(-1)

    return divergence(rows, student, teacher, mask, temperature, scale_by_t2, reduction, chunk)


def mixture(log_p: Tensor, log_q: Tensor, share: float) -> Tensor:
    """log(share p + (1 - share) q), also where both underflow."""
    if share in (0, 1):
        return log_p if share else log_q
    return torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))
