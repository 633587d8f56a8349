"""Variational information distillation (VID): how well the student's features predict the teacher's."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import aligned, fill, masked_mean
from textkd.losses.modules import Linear, options_of, width_of
from textkd.losses.options import Positive, Range
from textkd.losses.registry import register
from textkd.losses.shapes import Shape


@register(
    "vid",
    family="hidden",
    source="VID, Ahn et al. 2019, arXiv:1904.05835; code: HobbitLong/RepDistiller",
    formula="1 / (N H) * sum of ((mu(h_s) - h_t)^2 / v + log v) / 2",
    any_width=True,
)
class VariationalInformation(nn.Module):
    """Negative log likelihood of the teacher's features under a normal distribution that the student's predict.

    mu: three linear maps with ReLU between them. v: a learned variance per dimension of the teacher, the same at all
    positions. Without the constant log(2 pi) / 2, so it can be negative.

    init_variance: of every dimension at the start. regressor_width: of the layers inside mu; None: the teacher's. eps:
    smallest variance. Scalar.
    """

    def __init__(
        self,
        student: Shape,
        teacher: Shape,
        *,
        init_variance: Positive = 5.0,
        regressor_width: Annotated[int, Range(1)] | None = None,
        eps: Positive = 1e-5,
    ) -> None:
        super().__init__()
        if init_variance <= eps:
            raise fail(f"init_variance={init_variance} for the loss vid", f"the smallest variance, eps, is {eps}",
                       fix="a larger init_variance")  # fmt: skip
        width = width_of(teacher, "vid")
        inner = regressor_width or width
        self.init_variance, self.eps = init_variance, eps
        self.regressor = nn.Sequential(
            Linear(width_of(student, "vid"), inner, bias=False),
            nn.ReLU(),
            Linear(inner, inner, bias=False),
            nn.ReLU(),
            Linear(inner, width, bias=False),
        )
        above = init_variance - eps
        self.log_scale = nn.Parameter(torch.full((width,), above + math.log(-math.expm1(-above))))  # softplus inverted

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        mean, teacher = aligned(self.regressor(fill(student, mask)), teacher, mask)
        variance = F.softplus(self.log_scale.to(mean.dtype)) + self.eps
        return masked_mean(0.5 * ((mean - teacher).square() / variance + variance.log()), mask)

    def extra_repr(self) -> str:
        return options_of(self, "init_variance", "eps")
