"""The task's own loss: logits against labels. Family "labels": `loss(logits, labels, mask=None, *, options)`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.linear import LinearLogits
from textkd.losses.logits.chunked import Chunk
from textkd.losses.logits.fused import row_loss
from textkd.losses.masking import aligned, expand, fill, masked_mean, widen
from textkd.losses.options import Fraction
from textkd.losses.registry import register
from textkd.models.conventions import IGNORED


@register(
    "cross_entropy",
    family="labels",
    source="torch.nn.functional.cross_entropy; label smoothing: Szegedy et al. 2016, arXiv:1512.00567",
    formula="mean over valid rows of -log p_s[y]",
    min_classes=2,
    chunkable=True,
)
def cross_entropy(
    logits: Tensor | LinearLogits,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    label_smoothing: Fraction = 0.0,
    chunk: Chunk = "auto",
) -> Tensor:
    """Cross entropy of class ids.

    logits [B,C] or [B,T,V]; labels [B] or [B,T], whole numbers, -100 = not counted; mask like labels.
    label_smoothing e: the target is (1-e) * onehot(y) + e/C. chunk: as in the `kl` of logits. Scalar.
    """
    if labels.shape != logits.shape[:-1]:
        raise _shapes(logits, labels, "class ids: labels are [B] for logits [B,C], [B,T] for [B,T,V]")
    valid = labels != IGNORED
    if mask is not None:
        valid = valid & expand(mask, labels)

    def rows(scores: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(widen(scores), targets.long(), reduction="none", label_smoothing=label_smoothing)

    def reduce(values: Tensor) -> Tensor:
        return masked_mean(values, valid)

    value = row_loss(rows, logits, [labels], valid, reduce, chunk)
    if value is not None:
        return value
    assert isinstance(logits, Tensor)
    return reduce(rows(fill(widen(logits), valid).movedim(-1, 1), torch.where(valid, labels, 0)))


@register(
    "mse",
    family="labels",
    source="torch.nn.functional.mse_loss",
    formula="mean over valid rows of (z_s - y)^2",
    targets="numbers",
)
def mse(logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Squared error of a regression.

    logits [B,1] or [B], labels [B]; or both [B,K] for K targets; mask [B]. Scalar.
    """
    if logits.dim() == labels.dim() + 1 and logits.shape[-1] == 1:
        logits = logits.squeeze(-1)
    if logits.shape != labels.shape:
        raise _shapes(logits, labels, "regression: logits [B,1] or [B] for labels [B]")
    prediction, target = aligned(logits, labels.to(widen(logits).dtype), mask)
    return masked_mean((prediction - target).square(), mask)


@register(
    "bce",
    family="labels",
    targets="flags",
    source="torch.nn.functional.binary_cross_entropy_with_logits",
    formula="mean over valid rows and classes of -[y log s(z) + (1-y) log(1-s(z))]",
)
def bce(logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Binary cross entropy of every class on its own (multi-label).

    logits [B,C], labels [B,C] in [0,1], mask [B]. Scalar.
    """
    if logits.shape != labels.shape:
        raise _shapes(logits, labels, "multi-label: labels are [B,C], one number from 0 to 1 per class")
    prediction, target = aligned(logits, labels.to(widen(logits).dtype), mask)
    return masked_mean(F.binary_cross_entropy_with_logits(prediction, target, reduction="none"), mask)


def _shapes(logits: Tensor | LinearLogits, labels: Tensor, fix: str) -> Exception:
    return fail("labels that fit the logits", f"logits {list(logits.shape)}, labels {list(labels.shape)}", fix=fix)
