"""Locality-sensitive hashing (LSH): features on the same side of many fixed random planes as the teacher's."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.losses.masking import aligned, masked_mean
from textkd.losses.modules import Learner, options_of, width_of
from textkd.losses.options import NonNegative, Positive, Range
from textkd.losses.pooling import Pool, pooled, valid_rows
from textkd.losses.registry import register
from textkd.losses.shapes import Shape


@register(
    "lsh",
    family="hidden",
    source="Wang et al. 2021, Distilling Knowledge by Mimicking Features, arXiv:2011.01424; code: DoctorKey/LSHFM",
    formula="mean BCE(W f_s + b, [W f_t + b > 0]) + mse * mean (f_s - f_t)^2",
    per="row",
)
class Hashing(Learner):
    """Binary cross entropy of the student's projections on random directions with the signs of the teacher's.

    The planes W are drawn once and fixed; each lies in the middle of the teacher's projections in the first batch of
    two or more samples (the original: in the whole training data).

    bits: number of planes; None: 32 per dimension. std: of W; the original takes that of the teacher's classifier
    weights. target: the teacher's "bits", or its projections by "l2" or "l1". centre: "median" or "mean". mse: weight
    of the mean squared difference that is added. pool: one vector per sample of [B,T,H]. Scalar.
    """

    planes: Tensor
    bias: Tensor

    def __init__(
        self,
        student: Shape,
        teacher: Shape,
        *,
        bits: Annotated[int, Range(1)] | None = None,
        std: Positive = 1.0,
        target: Literal["bits", "l2", "l1"] = "bits",
        centre: Literal["median", "mean"] = "median",
        mse: NonNegative = 1.0,
        pool: Pool = "mean",
    ) -> None:
        super().__init__()
        width = width_of(teacher, "lsh")
        self.bits = bits or 32 * width
        self.std, self.target, self.centre, self.mse, self.pool = std, target, centre, mse, pool
        self.register_buffer("planes", torch.randn(self.bits, width) * std)
        self.register_buffer("bias", torch.zeros(self.bits))

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        rows = valid_rows(mask, self.pool)
        student, teacher = aligned(pooled(student, mask, self.pool), pooled(teacher, mask, self.pool), rows)
        planes = self.planes.to(student.dtype)
        if not self.is_ready():
            self._start(F.linear(teacher if rows is None else teacher[rows], planes))
        mine, its = (F.linear(x, planes, self.bias.to(x.dtype)) for x in (student, teacher))
        if self.target == "bits":
            # bits in float32, as in the original: for float64 features torch gives the value (not the gradient) so, too
            weight = None if rows is None else (rows * (len(rows) / rows.sum().clamp(min=1).to(mine.dtype)))[:, None]
            loss = F.binary_cross_entropy_with_logits(mine, (its > 0).float(), weight)
        else:
            loss = masked_mean((mine - its).square() if self.target == "l2" else (mine - its).abs(), rows)
        return loss + self.mse * masked_mean((student - teacher).square(), rows)

    @torch.no_grad()
    def _start(self, projections: Tensor) -> None:
        if len(projections) < 2:  # one sample would lie on every plane
            return
        middle = projections.median(0).values if self.centre == "median" else projections.mean(0)
        self.bias.copy_(-middle)
        self.ready.fill_(True)

    def extra_repr(self) -> str:
        return options_of(self, "bits", "std", "target", "centre", "mse", "pool")
