"""BERT-EMD: many layers to many. Each layer of the student has some weight to give, each of the teacher some to take;
the cheapest way to bring it over says which layers learn from which, and the weights follow what it costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from textkd.errors import fail
from textkd.losses.masking import aligned, masked_mean, pair_mask
from textkd.losses.registry import register
from textkd.losses.shapes import Shape

SOURCE = "BERT-EMD, Li et al. 2020, arXiv:2010.06133; code: lxk00/BERT-EMD"
FORMULA = "sum_ij flow_ij * mse(s_i, t_j), flow = argmin of it with row sums w_s and column sums w_t"


@register("emd", family="hidden", source=SOURCE, formula=FORMULA, arity="layers")
@register("emd", family="scores", source=SOURCE, formula=FORMULA, arity="layers", per="pair")
@register("emd", family="attention", source=SOURCE, formula=FORMULA, arity="layers", per="pair")
class LayerTransport(nn.Module):
    """Earth mover's distance between the layers of the student and those of the teacher.

    Takes lists of layers, which may differ in length; the cost between two is their mean squared difference over valid
    positions (pairs of positions for attention). There is no gradient through the flow. All layers weigh the same at
    first; in training each step gives more weight to layers that were cheap to move (update=False: they stay the same).
    Finding the flow waits for the device once per step. Scalar.
    """

    student_weight: Tensor
    teacher_weight: Tensor

    def __init__(self, student: Sequence[Shape], teacher: Sequence[Shape], *, update: bool = True) -> None:
        super().__init__()
        if not student or not teacher:
            raise fail("the loss emd over layers", "no layers", fix="name layers of both sides")
        self.update = update
        self.register_buffer("student_weight", torch.full((len(student),), 1.0) / len(student))
        self.register_buffer("teacher_weight", torch.full((len(teacher),), 1.0) / len(teacher))

    def extra_repr(self) -> str:
        return f"{len(self.student_weight)} <- {len(self.teacher_weight)} layers, update={self.update}"

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        if (len(student), len(teacher)) != (len(self.student_weight), len(self.teacher_weight)):
            found = f"{len(student)} and {len(teacher)} layers"
            raise fail(f"the loss emd for {self.extra_repr()}", found, fix="give it the layers that it was built for")
        pairs = pair_mask(mask) if student[0].dim() == 4 else mask
        with torch.no_grad():
            cost = torch.stack([torch.stack([_mse(s, t, pairs) for t in teacher]) for s in student])
            amounts = optimal_flow(cost, self.student_weight, self.teacher_weight)
            flow = torch.tensor(amounts, dtype=cost.dtype, device=cost.device)
            if self.training and self.update:
                self._follow(flow * cost)
        used = [(int(i), int(j)) for i, j in zip(*np.nonzero(amounts), strict=True)]  # at most S + T - 1 of S x T
        return torch.stack([flow[i, j] * _mse(student[i], teacher[j], pairs) for i, j in used]).sum()

    def _follow(self, spent: Tensor) -> None:
        """New weights: a side's share is inverse to what moving one unit of its layer has cost."""
        self.student_weight.copy_(_inverse_cost(spent.sum(1), self.student_weight))
        self.teacher_weight.copy_(_inverse_cost(spent.sum(0), self.teacher_weight))


def optimal_flow(cost: Tensor, giving: Tensor, taking: Tensor) -> np.ndarray:
    """The flow [S,T] of least cost that empties `giving` [S] and fills `taking` [T], as an exact linear program."""
    from scipy.optimize import linprog  # slow to import, and only needed here

    c, a, b = (x.detach().double().cpu().numpy() for x in (cost, giving, taking))
    if not np.isfinite(c).all():
        raise fail("the cheapest flow between layers", "a cost that is inf or nan", fix="look for what overflowed")
    s, t = c.shape
    sums = np.vstack([np.kron(np.eye(s), np.ones(t)), np.kron(np.ones(s), np.eye(t))])
    found = linprog(c.ravel(), A_eq=sums[:-1], b_eq=np.concatenate([a / a.sum(), b / b.sum()])[:-1], method="highs")
    if found.x is None:
        raise fail("the cheapest flow between layers", str(found.message), fix="check the weights of the layers")
    return np.asarray(found.x).reshape(s, t).clip(min=0.0)


def _mse(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    student, teacher = aligned(student, teacher, mask)
    return masked_mean((student - teacher).square(), mask)


def _inverse_cost(spent: Tensor, weight: Tensor) -> Tensor:
    per_unit = torch.where(weight > 0, spent / weight.clamp(min=torch.finfo(weight.dtype).tiny), 0.0).to(weight.dtype)
    free = per_unit <= 0
    inverse = torch.where(free, 0.0, per_unit.sum() / torch.where(free, 1.0, per_unit))
    total = inverse.sum()
    return torch.where(total > 0, inverse / torch.where(total > 0, total, 1.0), weight)
