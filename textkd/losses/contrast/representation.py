"""Contrast: the student's vector of a sample should be told apart, by the teacher's vector of the same sample, from the
vectors of other samples. One vector per sample: [B,H], or [B,T,H] pooled over the valid positions.

`info_nce` takes the others from the batch; `crd` remembers vectors of the whole training data.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import aligned, masked_mean, widen
from textkd.losses.modules import Linear, options_of, width_of
from textkd.losses.options import Fraction, Positive, Range
from textkd.losses.pooling import Pool, pooled, valid_rows
from textkd.losses.registry import register
from textkd.losses.shapes import Shape

EPS = 1e-7  # of the original, in the denominators


@register(
    "info_nce",
    family="hidden",
    source="InfoNCE, van den Oord et al. 2018, arXiv:1807.03748; both directions: CLIP, arXiv:2103.00020",
    formula="1 / B * sum_i -log( exp(cos(s_i, t_i) / tau) / sum_j exp(cos(s_i, t_j) / tau) )",
    per="row",
    min_rows=2,
)
def info_nce(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    tau: Positive = 0.07,
    both_directions: bool = False,
    pool: Pool = "mean",
) -> Tensor:
    """Picks the teacher's vector of the same sample among those of the batch; needs no memory.

    tau: the temperature of the similarities. both_directions: mean of this and of picking the student's vector for each
    of the teacher's. pool: of [B,T,H], the mean of the valid positions or the first one. Samples without a valid
    position take no part. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    valid = valid_rows(mask, pool)
    if len(student) < 2:
        raise fail("the loss info_nce", f"a batch of {len(student)}", fix="give it 2 or more samples to tell apart")
    student, teacher = (F.normalize(pooled(x, mask, pool), dim=-1) for x in (student, teacher))
    scores = student @ teacher.T / tau
    if valid is not None:
        scores = scores.masked_fill(~(valid[:, None] & valid), torch.finfo(scores.dtype).min)
    rows = -scores.log_softmax(1).diagonal()
    if both_directions:
        rows = (rows - scores.log_softmax(0).diagonal()) / 2
    return masked_mean(rows, valid)


@register(
    "crd",
    family="hidden",
    source="CRD, Tian et al. 2020, arXiv:1910.10699; code: HobbitLong/RepDistiller crd/",
    formula="-1/B * sum_i sum_v [ log(x_v,i,0 / (x_v,i,0 + K/n)) + sum_k log((K/n) / (x_v,i,k + K/n)) ], "
    "x = exp(v . memory / tau) / Z, v of student and of teacher",
    needs=("labels", "example_id"),
    any_width=True,
    per="row",
)
class ContrastiveRepresentation(nn.Module):
    """Tells the pair (student, teacher) of a sample from K negatives, both ways, by a memory of the training data.

    width: of the embeddings that both sides are mapped to. num_negatives: K, per sample. tau: the temperature of the
    similarities. momentum: of a remembered vector when its sample comes by. negatives: "other_class" (as the original;
    samples whose label has not come by yet count as another class) or "other_row" (for labels that are no classes).
    positives: "same_row", or "same_class" for a random row of the sample's class. pool: of [B,T,H], the mean of the
    valid positions or the first one. Negatives are drawn with replacement by torch's generator (the original: without,
    where there are enough); on several processes the memory is that of the first one. Scalar.
    """

    memory_student: Tensor
    memory_teacher: Tensor
    z_student: Tensor
    z_teacher: Tensor
    classes: Tensor

    def __init__(
        self,
        student: Shape,
        teacher: Shape,
        *,
        rows: int,
        width: Annotated[int, Range(1)] = 128,
        num_negatives: Annotated[int, Range(1)] = 16384,
        tau: Positive = 0.07,
        momentum: Fraction = 0.5,
        negatives: Literal["other_class", "other_row"] = "other_class",
        positives: Literal["same_row", "same_class"] = "same_row",
        pool: Pool = "mean",
    ) -> None:
        super().__init__()
        if rows < 2:
            raise fail(f"the loss crd on training data of {rows} rows", "nothing to tell apart", fix="another loss")
        self.num_negatives, self.tau, self.momentum = num_negatives, tau, momentum
        self.negatives, self.positives, self.pool = negatives, positives, pool
        self.student = Linear(width_of(student, "crd"), width)
        self.teacher = Linear(width_of(teacher, "crd"), width)
        bound = 1 / math.sqrt(width / 3)
        for side in ("student", "teacher"):
            self.register_buffer(f"memory_{side}", torch.empty(rows, width).uniform_(-bound, bound))
            self.register_buffer(f"z_{side}", torch.zeros(()))  # 0: not fixed yet
        self.register_buffer("classes", torch.full((rows,), -1))  # of each row, -1: has not come by yet

    def extra_repr(self) -> str:
        """The options, by which two of these are told apart."""
        return options_of(self, "num_negatives", "tau", "momentum", "negatives", "positives", "pool")

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Tensor | None = None,
        *,
        example_id: Tensor,
        labels: Tensor | None = None,
        candidates: Tensor | None = None,
    ) -> Tensor:
        """See the class. example_id: [B] rows of the data. labels: [B] classes. candidates: [B,1+K] rows, the positive
        first; drawn if not given. In training the memory is updated, after the scores are taken."""
        if candidates is None:
            candidates = self._draw(example_id, labels)
        vectors = {
            "student": F.normalize(self.student(pooled(widen(student), mask, self.pool)), dim=-1),
            "teacher": F.normalize(self.teacher(pooled(widen(teacher), mask, self.pool)), dim=-1),
        }
        loss = self._contrast(vectors["student"], "student", self.memory_teacher, candidates)
        loss = loss + self._contrast(vectors["teacher"], "teacher", self.memory_student, candidates)
        if self.training:
            self._remember(vectors, example_id)
        return loss

    def _contrast(self, vectors: Tensor, side: str, memory: Tensor, candidates: Tensor) -> Tensor:
        """One direction: `vectors` of one side against the memory of the other."""
        memory = memory.to(vectors.dtype, copy=True)  # it is updated before the backward pass
        scores = (vectors @ memory.T).gather(1, candidates) / self.tau
        log_x = scores - self._z(side, scores).log()
        noise = (candidates.shape[1] - 1) / len(memory)  # how often a row is drawn by chance
        log_all = torch.logaddexp(log_x, log_x.new_full((), math.log(noise + EPS)))  # finite for any score
        positive = log_x[:, 0] - log_all[:, 0]
        negative = math.log(noise) - log_all[:, 1:]
        return -(positive.sum() + negative.sum()) / len(vectors)

    def _z(self, side: str, scores: Tensor) -> Tensor:
        """The normalising constant, fixed by the first batch of the training."""
        known: Tensor = getattr(self, f"z_{side}")
        z = torch.where(known > 0, known, scores.detach().exp().mean().to(known.dtype) * len(self.classes))
        if self.training:
            known.copy_(z)
        return z.to(scores.dtype)

    @torch.no_grad()
    def _remember(self, vectors: dict[str, Tensor], example_id: Tensor) -> None:
        for side, new in vectors.items():
            memory: Tensor = getattr(self, f"memory_{side}")
            mixed = memory[example_id].to(new.dtype) * self.momentum + new * (1 - self.momentum)
            memory.index_copy_(0, example_id, F.normalize(mixed, dim=-1).to(memory.dtype))

    @torch.no_grad()
    def _draw(self, example_id: Tensor, labels: Tensor | None) -> Tensor:
        """[B,1+K] rows: one positive and K negatives per sample.

        With all rows in the order of their classes, a class is a stretch of them, and what lies outside, round the end,
        are its negatives.
        """
        batch, rows = len(example_id), len(self.classes)
        kinds = torch.arange(rows, device=example_id.device)  # each row a class of its own
        if self.negatives == "other_class" or self.positives == "same_class":
            kinds = self._known_classes(example_id, labels)
        ordered, order = kinds.sort()
        own = kinds[example_id].contiguous()
        start, end = torch.searchsorted(ordered, own), torch.searchsorted(ordered, own, right=True)
        positive = example_id
        if self.positives == "same_class":
            positive = order[start + _below(end - start, 1).squeeze(1)]
        if self.negatives == "other_row":
            others = example_id[:, None] + 1 + _below(torch.full_like(own, rows - 1), self.num_negatives)
            return torch.cat([positive[:, None], others % rows], 1)
        left = rows - (end - start)
        if bool((left < 1).any()):
            fix = "options: {negatives: other_row}"
            raise fail(f"negatives of other classes for {batch} samples", "all rows are of one class", fix=fix)
        return torch.cat([positive[:, None], order[(end[:, None] + _below(left, self.num_negatives)) % rows]], 1)

    def _known_classes(self, example_id: Tensor, labels: Tensor | None) -> Tensor:
        if labels is None or labels.shape != example_id.shape or labels.is_floating_point():
            found = "no labels" if labels is None else f"labels {list(labels.shape)} of {labels.dtype}"
            fix = "options: {negatives: other_row, positives: same_row}"
            raise fail("the loss crd by class, which takes one class id per sample", found, fix=fix)
        if self.training:
            self.classes.index_copy_(0, example_id, labels)
            return self.classes
        return self.classes.index_copy(0, example_id, labels)


def _below(limits: Tensor, many: int) -> Tensor:
    """[B,many] whole numbers from 0 up to, not including, `limits` [B]."""
    return torch.randint(2**62, (len(limits), many), device=limits.device) % limits[:, None]
