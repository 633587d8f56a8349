"""Knowledge projection: the teacher's features, mapped to the student's width."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from textkd.losses.hidden.vectors import PER_ROW, Reduction, reduce_elements
from textkd.losses.masking import aligned, fill
from textkd.losses.modules import Linear, options_of, width_of
from textkd.losses.registry import register
from textkd.losses.shapes import Shape


@register(
    "knowledge_projection",
    family="hidden",
    source="Knowledge Projection Network, Zhang et al. 2017, arXiv:1710.09505 (no code published)",
    formula="1 / (N H_s) * sum of |h_s - P h_t| (or squares), P: [H_s,H_t] learned",
    any_width=True,
    per_row_if=PER_ROW,
)
class KnowledgeProjection(nn.Module):
    """Difference of the student's features from a learned linear map of the teacher's.

    The other way round than a projection of the match, which maps the student to the teacher's width: the student
    keeps no extra layer that could do its work. The map learns too, so a match without a task loss beside it can end
    in features that are all 0; the original lets the weight of this loss fall to 0 over the training (`schedule`).

    norm: "l2" (squares) or "l1". reduction: see `reduce_elements`. Scalar.
    """

    def __init__(
        self,
        student: Shape,
        teacher: Shape,
        *,
        norm: Literal["l2", "l1"] = "l2",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.norm, self.reduction = norm, reduction
        mine, wide = width_of(student, "knowledge_projection"), width_of(teacher, "knowledge_projection")
        self.projection = Linear(wide, mine, bias=False)

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        student, teacher = aligned(student, self.projection(fill(teacher, mask)), mask)
        difference = student - teacher
        return reduce_elements(difference.abs() if self.norm == "l1" else difference.square(), mask, self.reduction)

    def extra_repr(self) -> str:
        return options_of(self, "norm", "reduction")
