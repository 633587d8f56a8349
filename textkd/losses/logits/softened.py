"""Losses on logits [B,C] (mask [B] or None) or [B,T,V] (mask [B,T]). A row is one sample or one token; only valid
rows count. z: logits, T: temperature, p = softmax(z / T), N: number of valid rows, C: number of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from textkd.losses.linear import LinearLogits
from textkd.losses.logits.chunked import Chunk
from textkd.losses.logits.fused import row_loss
from textkd.losses.logits.standardised import z_scores
from textkd.losses.masking import aligned, masked_mean, masked_sum, mean_of_samples, same_shape, sample_means
from textkd.losses.options import Positive
from textkd.losses.registry import register

Reduction = Literal["batchmean", "mean", "token_mean", "sequence_mean", "sum"]
Logits = Tensor | LinearLogits
PER_ROW = {"reduction": ("sequence_mean", "sum")}


@register(
    "kl",
    family="logits",
    source="Hinton et al. 2015, arXiv:1503.02531",
    formula="T^2 / N * sum over rows of KL(p_t || p_s)",
    min_classes=2,
    per_row_if=PER_ROW,
    chunkable=True,
    reads="shares",
)
def kl(
    student: Logits,
    teacher: Logits,
    mask: Tensor | None = None,
    *,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
    reduction: Reduction = "batchmean",
    standardise: bool = False,
    chunk: Chunk = "auto",
) -> Tensor:
    """KL divergence of the student's softened distribution from the teacher's.

    temperature T: both logits are divided by it. scale_by_t2: multiply by T^2, so that the gradient keeps its size
    when T grows (off: TextBrewer, TinyBERT, FitNets' code). reduction: see `reduce_rows`. standardise: compare the
    shapes of the logits only, not their size, see `standardised.z_scores`. chunk: rows that are computed together, so
    that nothing but the gradient is as large as the logits; 0: all, auto: see `chunked.rows_per_chunk`. Scalar.
    """

    def rows(log_s: Tensor, log_t: Tensor) -> Tensor:
        return kl_rows(log_t, log_s)

    return divergence(rows, student, teacher, mask, temperature, scale_by_t2, reduction, chunk, standardise)


@register(
    "soft_cross_entropy",
    family="logits",
    source="Hinton et al. 2015, arXiv:1503.02531; reduction mean: TinyBERT, arXiv:1909.10351",
    formula="T^2 / N * sum over rows of -sum_c p_t log p_s",
    min_classes=2,
    per_row_if=PER_ROW,
    chunkable=True,
    reads="shares",
)
def soft_cross_entropy(
    student: Logits,
    teacher: Logits,
    mask: Tensor | None = None,
    *,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
    reduction: Reduction = "batchmean",
    chunk: Chunk = "auto",
) -> Tensor:
    """Cross entropy with the teacher's softened distribution as the target.

    `kl` plus the teacher's entropy, which is constant: the same gradient, but not 0 at a perfect match.
    Options as in `kl`. Scalar.
    """

    def rows(log_s: Tensor, log_t: Tensor) -> Tensor:
        return -(log_t.exp() * log_s).sum(-1)

    return divergence(rows, student, teacher, mask, temperature, scale_by_t2, reduction, chunk)


@register(
    "mse",
    family="logits",
    source="Ba & Caruana 2014, arXiv:1312.6184 (reduction half_sum); temperature: airaria/TextBrewer kd_mse_loss",
    formula="1 / (N C) * sum over rows and classes of (z_s/T - z_t/T)^2",
    per_row_if=PER_ROW,
)
def mse(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: Positive = 1.0,
    reduction: Literal["mean", "batchmean", "half_sum", "sequence_mean", "sum"] = "mean",
) -> Tensor:
    """Squared difference of the logits; also the loss of a regression [B,1].

    temperature T divides both logits, without T^2. reduction: of the sums over classes, as in `reduce_rows`; half_sum
    is 1/2 of batchmean, so that the gradient is the bare difference. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    rows = soften(student - teacher, temperature).square().sum(-1)
    if reduction == "half_sum":
        return 0.5 * reduce_rows(rows, mask, "batchmean", student.shape[-1])
    return reduce_rows(rows, mask, reduction, student.shape[-1])


@register(
    "bce",
    family="logits",
    source="per-class form of Hinton et al. 2015, arXiv:1503.02531",
    formula="T^2 / (N C) * sum of -[q log s(z_s/T) + (1-q) log(1-s(z_s/T))], q = s(z_t/T)",
)
def bce(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
) -> Tensor:
    """Binary cross entropy with the teacher's sigmoid as the target, class by class (multi-label).

    temperature T divides both logits; scale_by_t2 multiplies by T^2. Mean over valid rows and classes. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    target = soften(teacher, temperature).sigmoid()
    loss = F.binary_cross_entropy_with_logits(soften(student, temperature), target, reduction="none")
    return masked_mean(scaled(loss.mean(-1), temperature, scale_by_t2), mask)


def divergence(
    of_rows: Callable[[Tensor, Tensor], Tensor],
    student: Logits,
    teacher: Logits,
    mask: Tensor | None,
    temperature: float,
    scale_by_t2: bool,
    reduction: Reduction,
    chunk: Chunk,
    standardise: bool = False,
) -> Tensor:
    """What of_rows(log p_s, log p_t) [...] says about each row, as one number; the options as in `kl`. Scalar."""
    same_shape(student.shape, teacher.shape)
    classes = student.shape[-1]

    def reduce(rows: Tensor) -> Tensor:
        return reduce_rows(scaled(rows, temperature, scale_by_t2), mask, reduction, classes)

    def of_logits(s: Tensor, t: Tensor) -> Tensor:
        return of_rows(*log_probabilities(s, t, None, temperature, standardise))

    value = row_loss(of_logits, student, [teacher], mask, reduce, chunk)
    if value is not None:
        return value
    assert isinstance(student, Tensor)
    assert isinstance(teacher, Tensor)
    return reduce(of_rows(*log_probabilities(student, teacher, mask, temperature, standardise)))


def soften(z: Tensor, temperature: float | Tensor) -> Tensor:
    """z / T; at T = 1 no copy of what may be [B,T,64000]. A tensor T [B] or [B,T] has one value per row."""
    if isinstance(temperature, Tensor):
        return z / _over(temperature, z)
    return z if temperature == 1 else z / temperature


def scaled(rows: Tensor, temperature: float | Tensor, scale_by_t2: bool) -> Tensor:
    """Values per row, times T^2 where `scale_by_t2`."""
    if not scale_by_t2:
        return rows
    return rows * (_over(temperature, rows) if isinstance(temperature, Tensor) else temperature) ** 2


def log_probabilities(
    student: Tensor, teacher: Tensor, mask: Tensor | None, temperature: float | Tensor, standardise: bool = False
) -> tuple[Tensor, Tensor]:
    """log p_s and log p_t; uniform in invalid rows."""
    student, teacher = aligned(student, teacher, mask)
    if standardise:
        student, teacher = z_scores(student), z_scores(teacher)
    return F.log_softmax(soften(student, temperature), dim=-1), F.log_softmax(soften(teacher, temperature), dim=-1)


def kl_rows(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) per row, differentiable in both."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def reduce_rows(rows: Tensor, mask: Tensor | None, reduction: Reduction, classes: int) -> Tensor:
    """One number of per-row values [B] or [B,T]; `classes` is C.

    batchmean: sum / N, N = all valid rows of the batch (for [B,T,V] these are tokens: a long sequence weighs more).
    token_mean: the same number under the name that language models use.
    sequence_mean: mean over the valid tokens of each sequence, then over sequences: each sequence weighs the same.
    mean: sum / (N C), what `F.kl_div(reduction="mean")` gives (PKD, Moonshine, TinyBERT): small for many classes.
    sum: the bare sum.
    """
    if reduction == "sequence_mean":
        return mean_of_samples(sample_means(rows, mask), mask)
    if reduction == "sum":
        return masked_sum(rows, mask)
    mean = masked_mean(rows, mask)
    return mean / classes if reduction == "mean" else mean


def _over(temperature: Tensor, x: Tensor) -> Tensor:
    return temperature.reshape(*temperature.shape, *([1] * (x.dim() - temperature.dim())))
