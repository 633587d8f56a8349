"""Logits over different vocabularies: compared by rank, since no class of one is a class of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.logits.softened import soften
from textkd.losses.masking import fill, mean_of_samples, sample_means, widen
from textkd.losses.options import Positive, Range
from textkd.losses.registry import register


@register(
    "uld",
    family="logits",
    source="Boizard et al. 2024, arXiv:2402.12030; code: Nicolas-BZRD/llm-recipes",
    formula="mean over samples of mean over positions of sum_r |p_s(r) - p_t(r)|, r: rank within the row",
    any_width=True,
    min_classes=2,
    per="row",
    reads="softmax",
    needs_own_encoding=True,
)
def uld(
    student: Tensor,
    teacher: Tensor | Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    temperature: Positive = 1.0,
    teacher_temperature: Positive | None = None,
    k: Annotated[int, Range(1)] | None = None,
) -> Tensor:
    """Distance of the sorted probabilities (universal logit distillation); the smaller vocabulary is filled with 0.

    student [B,T,V] or [B,C]. teacher: logits [B,T,W] or [B,D] at the positions of `mask`, or, where its tokenizer is
    another one, [logits, mask] of its own length: the n-th valid position of a sample meets the teacher's n-th, what
    is left of the longer one does not count. temperature: of both; teacher_temperature: of the teacher where it has
    another. k: only the k largest probabilities of each row, which spares the sort of a large vocabulary. Scalar.
    """
    student = fill(widen(student), mask)
    if isinstance(teacher, Tensor):
        teacher = fill(widen(teacher), mask)
    else:
        student, teacher, mask = _by_order(student, mask, *teacher)
    if teacher.shape[:-1] != student.shape[:-1]:
        found = f"student {list(student.shape)}, teacher {list(teacher.shape)}"
        raise fail("the same positions of student and teacher", found, fix="give the teacher as [logits, mask]")
    p_s = _sorted(soften(student, temperature), k)
    p_t = _sorted(soften(teacher, teacher_temperature or temperature), k)
    shared = min(p_s.shape[-1], p_t.shape[-1])
    rows = (p_s[..., :shared] - p_t[..., :shared]).abs().sum(-1)
    rows = rows + p_s[..., shared:].sum(-1) + p_t[..., shared:].sum(-1)  # one of the two is empty
    return mean_of_samples(sample_means(rows, mask), mask)


def _sorted(z: Tensor, k: int | None) -> Tensor:
    p = F.softmax(z, dim=-1)
    return p.sort(dim=-1, descending=True).values if k is None else p.topk(min(k, p.shape[-1]), dim=-1).values


def _by_order(
    student: Tensor, mask: Tensor | None, teacher: Tensor, teacher_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Both sides with their valid positions first, cut to one length, and the positions that both have."""
    if student.dim() != 3 or teacher.dim() != 3:
        found = f"student {list(student.shape)}, teacher {list(teacher.shape)}"
        raise fail("positions in two orders", found, fix="[logits, mask] of the teacher is for logits [B,T,V]")
    student, mine = _front(student, mask)
    teacher, its = _front(fill(widen(teacher), teacher_mask), teacher_mask)
    length = min(student.shape[1], teacher.shape[1])
    return student[:, :length], teacher[:, :length], mine[:, :length] & its[:, :length]


def _front(z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    if mask is None:
        return z, torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
    valid = mask != 0
    order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)
    return z.take_along_dim(order.unsqueeze(-1), dim=1), valid.take_along_dim(order, dim=1)
