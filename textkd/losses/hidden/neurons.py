"""Neuron selection (MobileID): the student imitates those dimensions of the teacher that tell the labels apart."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import aligned, masked_mean
from textkd.losses.modules import Learner, options_of, width_of
from textkd.losses.options import NonNegative, Range
from textkd.losses.pooling import Pool, pooled, valid_rows
from textkd.losses.registry import register
from textkd.losses.shapes import Shape

_EPS = 1e-12


@register(
    "neuron_selection",
    family="hidden",
    source="MobileID, Luo et al. 2016, Face Model Compression by Distilling Knowledge from Neurons, AAAI",
    formula="1/B sum over samples of 1/2 sum over selected dimensions c of (s_c - t_c)^2",
    needs=("labels",),
    per="row",
)
class NeuronSelection(Learner):
    """Squared difference on selected dimensions of the teacher: high Fisher score for the labels, little redundancy.

    Teacher vectors and labels of the first `samples` samples are kept. Dimensions are taken one by one: the largest
    score (`fisher_scores`) minus `redundancy` times the mean |correlation| with those taken before. Deviation: this
    greedy choice stands for the original's minimum of the same kind of energy, and labels for its face attributes.
    Until all samples are there, the choice of those seen so far is used.

    keep: share of the dimensions that are selected. redundancy: see above. samples: how many the choice is made from.
    pool: one vector per sample of [B,T,H]. With labels per token [B,T] every labelled token is a sample. Scalar.
    """

    vectors: Tensor
    classes: Tensor
    filled: Tensor
    selected: Tensor

    def __init__(
        self,
        student: Shape,
        teacher: Shape,
        *,
        keep: Annotated[float, Range(0.0, 1.0, open_low=True)] = 0.5,
        redundancy: NonNegative = 1.0,
        samples: Annotated[int, Range(2)] = 512,
        pool: Pool = "mean",
    ) -> None:
        super().__init__()
        width = width_of(teacher, "neuron_selection")
        self.keep, self.redundancy, self.samples, self.pool = keep, redundancy, samples, pool
        self.number = max(round(keep * width), 1)
        self.register_buffer("vectors", torch.zeros(samples, width))
        self.register_buffer("classes", torch.zeros(samples, dtype=torch.long))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self.register_buffer("selected", torch.zeros(width, dtype=torch.bool))

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, labels: Tensor) -> Tensor:
        if labels.is_floating_point():
            raise fail("neuron_selection with labels that are numbers", "its scores are those of classes",
                       fix="a task with class labels")  # fmt: skip
        if labels.dim() == 2:
            rows: Tensor | None = labels != -100 if mask is None else (labels != -100) & (mask != 0)
        else:
            rows = valid_rows(mask, self.pool)
            student, teacher = pooled(student, mask, self.pool), pooled(teacher, mask, self.pool)
        student, teacher = aligned(student, teacher, rows)
        if not self.is_ready():
            self._learn(teacher, labels, rows)
        squares = torch.where(self.selected, (student - teacher).square(), 0.0)
        return masked_mean(0.5 * squares.sum(-1), rows)

    @torch.no_grad()
    def _learn(self, teacher: Tensor, labels: Tensor, rows: Tensor | None) -> None:
        teacher, labels = (x.flatten(0, labels.dim() - 1) if rows is None else x[rows] for x in (teacher, labels))
        begin = int(self.filled)
        end = min(begin + len(labels), len(self.vectors))
        self.vectors[begin:end] = teacher[: end - begin].to(self.vectors.dtype)
        self.classes[begin:end] = labels[: end - begin]
        self.filled.fill_(end)
        self.ready.fill_(end == len(self.vectors))
        vectors = self.vectors[:end]
        self.selected.copy_(select(fisher_scores(vectors, self.classes[:end]), vectors, self.number, self.redundancy))

    def extra_repr(self) -> str:
        return options_of(self, "keep", "redundancy", "samples", "pool")


def fisher_scores(vectors: Tensor, labels: Tensor) -> Tensor:
    """[H] deviation between the labels over the whole deviation, in [0,1], of vectors [N,H] with labels [N].

    It orders dimensions as Fisher's score (variance between over variance within) does, on the scale of a correlation.
    """
    vectors = vectors.double()
    _, place, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = vectors.new_zeros(len(sizes), vectors.shape[1]).index_add(0, place, vectors)
    means = sums / sizes[:, None]
    within = (vectors - means[place]).square().sum(0)
    between = (sizes[:, None] * (means - vectors.mean(0)).square()).sum(0)
    scores: Tensor = (between / (between + within + _EPS)).sqrt()
    return scores


def select(scores: Tensor, vectors: Tensor, number: int, redundancy: float) -> Tensor:
    """[H] bool: `number` dimensions, one by one the largest score minus redundancy * mean |correlation| with those that
    were taken before (over the rows of vectors [N,H])."""
    units = F.normalize(vectors.double() - vectors.double().mean(0), dim=0)
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    likeness = torch.zeros_like(scores)
    for taken in range(number):
        value = (scores - redundancy * likeness / max(taken, 1)).masked_fill(chosen, -torch.inf)
        best = value.argmax()
        chosen[best] = True
        likeness += (units * units[:, best, None]).sum(0).abs()
    return chosen
