"""Born-again networks: what of the teacher's distribution helps, its confidence alone or the other classes' too.

Both from the paper (no official code), so that each can be set beside `soft_cross_entropy`, the method itself. Logits
[B,C] or [B,T,V]; mask and labels [B] or [B,T]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.losses.logits.targets import cross_entropy_rows
from textkd.losses.masking import aligned, fill, masked_mean
from textkd.losses.options import Positive
from textkd.losses.registry import register

_SOURCE = "Born-again networks, Furlanello et al. 2018, arXiv:1805.04770"


@register(
    "confidence_weighted",
    family="logits",
    source=f"{_SOURCE} (CWTM)",
    formula="sum over rows i of w_i * -log p_s[y_i], w_i = max p_t,i / sum_j max p_t,j",
    needs=("labels",),
    min_classes=2,
    reads="softmax",
)
def confidence_weighted(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    labels: Tensor,
    temperature: Positive = 1.0,
) -> Tensor:
    """Cross entropy of the labels, each row weighted by how sure the teacher is: nothing else of the teacher.

    The weights sum to 1 over the valid rows with a label. temperature divides the teacher's logits (the paper: 1).
    Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    rows, known = cross_entropy_rows(student, labels, mask)
    weight = fill(F.softmax(teacher / temperature, dim=-1).amax(-1), known)
    return (weight * rows).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


@register(
    "permuted_soft_cross_entropy",
    family="logits",
    source=f"{_SOURCE} (DKPP)",
    formula="1 / N * sum over rows of -sum_c perm(p_t)_c log p_s, perm leaves the largest in its place",
    min_classes=2,
    reads="softmax",
)
def permuted_soft_cross_entropy(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
) -> Tensor:
    """Soft cross entropy with the teacher's smaller probabilities shuffled between the classes, in every row anew.

    temperature, scale_by_t2: as in `kl` (the paper: 1). Draws from torch's generator of the device. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    target = permute_all_but_largest(F.softmax(teacher / temperature, dim=-1))
    rows = -(target * F.log_softmax(student / temperature, dim=-1)).sum(-1)
    return (temperature**2 if scale_by_t2 else 1.0) * masked_mean(rows, mask)


def permute_all_but_largest(p: Tensor) -> Tensor:
    """Every row of `p` [...,C] with all elements but its largest in a random order."""
    largest = F.one_hot(p.argmax(-1), p.shape[-1]).bool()
    places = torch.arange(p.shape[-1], device=p.device).expand(p.shape)
    # both lists of places begin with that of the largest; the rest is in order in one, shuffled in the other
    to = torch.where(largest, -1, places).argsort(-1)
    of = torch.where(largest, -1.0, torch.rand_like(p)).argsort(-1)
    return torch.empty_like(p).scatter_(-1, to, p.gather(-1, of))
