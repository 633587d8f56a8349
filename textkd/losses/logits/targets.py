"""Targets made of the teacher's logits and something else: the labels, or the share of the training that is done.

Logits [B,C] (mask [B] or None, labels [B]) or [B,T,V] (mask and labels [B,T]); a label of -100 is none."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.logits.softened import Reduction, kl_rows, log_probabilities, reduce_rows, scaled, soften
from textkd.losses.masking import aligned, expand, fill, masked_mean, widen
from textkd.losses.options import NonNegative, Positive, Range
from textkd.losses.registry import register
from textkd.models.conventions import IGNORED

Comparison = Literal["kl", "soft_cross_entropy", "mse"]


@register(
    "mixed_targets",
    family="logits",
    source="Hinton et al. 2015, arXiv:1503.02531, in the form that mixes targets instead of losses",
    formula="1 / N * sum over rows of -sum_c (a onehot(y) + b p_t)_c log p_s",
    needs=("labels",),
    min_classes=2,
    reads="shares",
)
def mixed_targets(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    labels: Tensor,
    hard: NonNegative = 0.1,
    soft: NonNegative = 0.9,
    temperature: Positive = 1.0,
) -> Tensor:
    """Cross entropy with the label and the teacher's softened distribution mixed into one target.

    hard a, soft b: the shares; a row without a label has a target that sums to b. temperature T divides both logits,
    also where the label is compared, and nothing is multiplied by T^2: at T=1 this is the same as a * cross entropy
    + b * soft cross entropy, at other T it is not. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    known, classes = labelled(student, labels, mask)
    log_s = F.log_softmax(student / temperature, dim=-1)
    rows = -soft * (F.softmax(teacher / temperature, dim=-1) * log_s).sum(-1)
    return masked_mean(rows - hard * fill(of_class(log_s, classes), known), mask)


@register(
    "shifted_targets",
    family="logits",
    source="TextBrewer, Yang et al. 2020, arXiv:2002.12620 (probability shift); code: airaria/TextBrewer",
    formula="loss(z_s, z_t with the largest logit and that of the label swapped)",
    needs=("labels",),
    min_classes=2,
    reads="softmax",
)
def shifted_targets(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    labels: Tensor,
    loss: Comparison = "soft_cross_entropy",
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
) -> Tensor:
    """Distillation from a teacher that is made to be right: see `probability_shift`.

    loss: what compares the logits. temperature, scale_by_t2: as in `kl`, in mse too (TextBrewer: no T^2).
    Rows without a label keep the teacher's logits. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    known, classes = labelled(teacher, labels, mask)
    shifted = probability_shift(teacher, torch.where(known, classes, IGNORED))
    return compare(student, shifted, mask, loss, temperature, scale_by_t2)


@register(
    "annealed_targets",
    family="logits",
    source="Annealing KD, Jafari et al. 2021, arXiv:2104.07163; code: huawei-noah/KD-NLP",
    formula="loss(z_s, z_t * t / t_max), t = 1 .. t_max over the training",
    needs=("progress",),
)
def annealed_targets(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    progress: float,
    steps: Annotated[int, Range(1)] = 10,
    loss: Comparison = "mse",
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
) -> Tensor:
    """Distillation from logits that grow to their full size: the paper's first phase (its second is the labels alone).

    steps: t_max, in how many equal stretches of the training t grows from 1 to t_max (the paper: one per epoch).
    loss: what compares the logits. temperature, scale_by_t2: as in `kl`, in mse too. Scalar.
    """
    t = min(int(min(max(progress, 0.0), 1.0) * steps) + 1, steps)
    return compare(student, teacher * (t / steps), mask, loss, temperature, scale_by_t2)


def probability_shift(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits [...,C] with each row's largest one and that of its label [...] swapped: the label's becomes the
    largest. Rows with a negative label stay as they are. A new tensor."""
    largest = logits.argmax(-1, keepdim=True)
    own = torch.where(labels[..., None] < 0, largest, labels[..., None])
    swapped = logits.scatter(-1, largest, logits.gather(-1, own))
    return swapped.scatter(-1, own, logits.gather(-1, largest))


def labelled(logits: Tensor, labels: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(which rows of `logits` [...,C] are valid and have a label, the label or 0 where there is none), both [...]."""
    if labels.shape != logits.shape[:-1] or labels.is_floating_point():
        found = f"logits {list(logits.shape)}, labels {list(labels.shape)} of {labels.dtype}"
        raise fail("class ids as labels", found, fix="labels are [B] for logits [B,C], [B,T] for [B,T,V]")
    known = labels != IGNORED
    if mask is not None:
        known = known & expand(mask, labels)
    return known, torch.where(known, labels, 0).long()


def of_class(values: Tensor, classes: Tensor) -> Tensor:
    """The value of each row's class: [...,C] and [...] -> [...]."""
    return values.gather(-1, classes[..., None]).squeeze(-1)


def cross_entropy_rows(logits: Tensor, labels: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(-log p[y] of every row, which rows have a label), both [...]; 0 where there is none."""
    known, classes = labelled(logits, labels, mask)
    return fill(-of_class(F.log_softmax(fill(widen(logits), known), dim=-1), classes), known), known


def compare(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None,
    loss: Comparison,
    temperature: float | Tensor,
    scale_by_t2: bool,
    reduction: Reduction = "batchmean",
) -> Tensor:
    """`loss` of the logits as `kl`, `soft_cross_entropy` and `mse` have it; the temperature may be one per row."""
    if loss != "mse" and student.shape[-1] < 2:
        found = f"{student.shape[-1]} class, whose probability is always 1"
        raise fail(f"{loss} of the logits", found, fix="use mse (regression)")
    if loss == "mse":
        student, teacher = aligned(student, teacher, mask)
        rows = soften(student - teacher, temperature).square().mean(-1)
    else:
        log_s, log_t = log_probabilities(student, teacher, mask, temperature)
        rows = kl_rows(log_t, log_s) if loss == "kl" else -(log_t.exp() * log_s).sum(-1)
    return reduce_rows(scaled(rows, temperature, scale_by_t2), mask, reduction, student.shape[-1])
