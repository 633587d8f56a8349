"""Feature attention (AFD): the teacher says which of its dimensions matter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textkd.losses.masking import aligned, fill, mean_of_samples
from textkd.losses.modules import Linear, options_of, width_of
from textkd.losses.options import Positive
from textkd.losses.pooling import pooled
from textkd.losses.registry import register
from textkd.losses.shapes import Shape

_EPS = 1e-6


@register(
    "afd",
    family="hidden",
    source="AFD, Wang et al. 2020, Pay Attention to Features, ICLR; code: AberHu/Knowledge-Distillation-Zoo",
    formula="1/B sum over samples, dimensions c of rho_c(t) mean over T of (s_c/||s_c|| - t_c/||t_c||)^2",
    per="row",
    tokens=True,
)
class FeatureAttention(nn.Module):
    """Squared distance of each dimension's course over the tokens, weighted by attention that the teacher's means set.

    student, teacher: [B,T,H]. A dimension of a sample is scaled to length 1 over its valid tokens. rho: sigmoid of two
    linear layers on the teacher's mean token, scaled to sum 1 over the dimensions; it is trained with the student.

    inner_share: width of the layer between them, in widths of the teacher. Scalar.
    """

    def __init__(self, student: Shape, teacher: Shape, *, inner_share: Positive = 1.0) -> None:
        super().__init__()
        self.inner_share, width = inner_share, width_of(teacher, "afd")
        inner = max(int(width * inner_share), 1)
        self.attention = nn.Sequential(Linear(width, inner), nn.ReLU(), Linear(inner, width))

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        student, teacher = aligned(student, teacher, mask)
        # logsigmoid and softmax: the scaled sigmoids, also where all of them underflow
        rho = F.logsigmoid(self.attention(pooled(teacher, mask, "mean"))).softmax(-1)
        squares = (_courses(student) - _courses(teacher)).square()
        sizes = student.shape[1] if mask is None else (mask != 0).sum(1, keepdim=True).clamp(min=1)
        return mean_of_samples((rho * fill(squares, mask).sum(1) / sizes).sum(-1), mask)

    def extra_repr(self) -> str:
        return options_of(self, "inner_share")


def _courses(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / (length + _EPS)
