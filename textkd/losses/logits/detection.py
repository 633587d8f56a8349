"""Distillation of object detectors, carried over: classes of which one is a background (O of a tagger, the blank of an
OCR head), and numbers that the teacher predicts too (STS-B, boxes)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import aligned, fill, masked_mean
from textkd.losses.options import NonNegative, Positive, Range
from textkd.losses.registry import register

_SOURCE = "Chen et al. 2017, Learning efficient object detection models with knowledge distillation (no public code)"


@register(
    "weighted_soft_cross_entropy",
    family="logits",
    source=_SOURCE,
    formula="1 / N * sum over rows of -sum_c w_c p_t log p_s",
    min_classes=2,
    reads="shares",
)
def weighted_soft_cross_entropy(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    background: Annotated[int, Range(0)] = 0,
    background_weight: NonNegative = 1.5,
    class_weights: list[NonNegative] | None = None,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
) -> Tensor:
    """Soft cross entropy in which every class has a weight.

    background, background_weight: the weight of this one class, all others have 1 (the paper: 1.5 for class 0).
    class_weights: one per class, instead of these two. temperature, scale_by_t2: as in `kl` (the paper: 1). Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    weights = _weights(class_weights, background, background_weight, student)
    target = F.softmax(teacher / temperature, dim=-1)
    rows = -(weights * target * F.log_softmax(student / temperature, dim=-1)).sum(-1)
    return (temperature**2 if scale_by_t2 else 1.0) * masked_mean(rows, mask)


@register(
    "bounded_mse",
    family="logits",
    source=_SOURCE,
    formula="1 / N * sum of e_s if e_s + m > e_t else 0, e = squared error against the label",
    needs=("labels",),
    targets="numbers",
    to_target="stops",
)
def bounded_mse(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    labels: Tensor,
    margin: NonNegative = 0.0,
    bound: Literal["number", "row"] = "number",
) -> Tensor:
    """Squared error of the labels, only where the student is not better than the teacher by the margin.

    student, teacher: predictions [B,1] or [B,K]; labels [B] or [B,K]; the teacher is a bound, not a target. margin: m.
    bound: whether each number is held against the teacher's, or the sum over a row (the paper's boxes). The mean runs
    over all valid numbers. To be added to the task's own loss (in the paper: smooth L1) with the weight 0.5. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    truth = labels[..., None] if labels.dim() == student.dim() - 1 else labels
    if truth.shape != student.shape:
        found = f"predictions {list(student.shape)}, labels {list(labels.shape)}"
        raise fail("numbers as labels", found, fix="labels are [B] for predictions [B,1], [B,K] for [B,K]")
    truth = fill(truth.to(student.dtype), mask)
    error_s, error_t = (student - truth).square(), (teacher - truth).square()
    worse = _summed(error_s, bound) + margin > _summed(error_t, bound)
    return masked_mean(torch.where(worse, error_s, 0.0), mask)


def _summed(errors: Tensor, bound: str) -> Tensor:
    return errors.detach().sum(-1, keepdim=True) if bound == "row" else errors.detach()


def _weights(given: list[float] | None, background: int, weight: float, like: Tensor) -> Tensor:
    classes = like.shape[-1]
    if given is not None and len(given) != classes:
        fix = "give one weight per class, in the order of the labels"
        raise fail(f"class_weights: {len(given)} numbers", f"{classes} classes", fix=fix)
    if given is None and background >= classes:
        raise fail(f"background: {background}", f"{classes} classes", fix=f"a class from 0 to {classes - 1}")
    listed = given if given is not None else [weight if c == background else 1.0 for c in range(classes)]
    return torch.tensor(listed, dtype=like.dtype, device=like.device)
