"""A tolerant teacher: a loss for the training of a teacher, which keeps it from being sure of one class alone."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor
from torch.nn import functional as F

from textkd.losses.masking import expand, fill, masked_mean, widen
from textkd.losses.options import Range
from textkd.losses.registry import register
from textkd.models.conventions import IGNORED


@register(
    "top_score_difference",
    family="labels",
    source="Yang et al. 2019, A more tolerant teacher educates better students, arXiv:1805.05551",
    formula="1 / N * sum over rows of f_(1) - 1 / (K - 1) * sum_{k=2..K} f_(k), f sorted, largest first",
    min_classes=2,
)
def top_score_difference(
    logits: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    top: Annotated[int, Range(2)] = 5,
    scores: Literal["probabilities", "logits"] = "probabilities",
) -> Tensor:
    """How far the first class is ahead of the next ones: added to the cross entropy of a teacher with a small weight.

    logits [B,C] or [B,T,V]; labels tell only which rows count (-100: not). top: K, the first class and K - 1 others
    (all, where there are fewer). scores: f, probabilities (the gap is from 0 to 1) or the logits themselves. The paper
    has no public code: written from its text, where f is a confidence. Scalar.
    """
    valid = labels != IGNORED
    if mask is not None:
        valid = valid & expand(mask, labels)
    f = fill(widen(logits), valid)
    if scores == "probabilities":
        f = F.softmax(f, dim=-1)
    first = f.topk(min(top, f.shape[-1]), dim=-1).values
    return masked_mean(first[..., 0] - first[..., 1:].mean(-1), valid)
