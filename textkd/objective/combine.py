"""The logits of several teachers as one target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import Problem, problem
from textkd.losses import Loss
from textkd.models.conventions import IGNORED

KINDS = ("mean_probabilities", "mean_logits", "gate")
LEAST_SHARE = 1e-20  # of the largest weight: what is less is lost in float32


@dataclass(frozen=True)
class Combination:
    """How the logits of K teachers become one target of the same shape.

    Args:
        kind: one of `KINDS`.
            mean_probabilities: the target's softmax at the loss's temperature is the mean of the teachers' softmaxes
            (Hinton et al. 2015, arXiv:1503.02531, section 3).
            mean_logits: the mean of the logits (as TextBrewer's multi-teacher distiller does).
            gate: the mean of the softmaxes, teacher k counting (1 - softmax_k(cross-entropy of teacher k)) / (K - 1)
            for each row (CA-MKD, Zhang et al. 2022, arXiv:2201.00007). The gradient is that of the weighted sum of the
            teachers' KL; the value differs by a number that no student changes.
        weights: of the teachers, summing up to 1; not for gate.

    Example:
        >>> both = Combination("mean_logits", (0.5, 0.5))
        >>> both([torch.tensor([[0.0, 2.0]]), torch.tensor([[4.0, 2.0]])])
        tensor([[2., 2.]])
    """

    kind: str
    weights: tuple[float, ...]

    def __call__(self, logits: Sequence[Tensor], temperature: float = 1.0, labels: Tensor | None = None) -> Tensor:
        """The target [B, ..., C] of logits [B, ..., C]. labels: class ids [B, ...], for the gate."""
        stacked = torch.stack([tap.float() for tap in logits])
        if self.kind == "mean_logits":
            return torch.einsum("k,k...->...", stacked.new_tensor(self.weights), stacked)
        if self.kind == "gate":
            assert labels is not None
            weights = gate(stacked, labels)[..., None]
        else:
            weights = stacked.new_tensor(self.weights).view(-1, *[1] * (stacked.dim() - 1))
        # softmax(target / T) is the weighted mean of the softmaxes at T
        return temperature * torch.logsumexp(F.log_softmax(stacked / temperature, -1) + weights.log(), 0)


def gate(logits: Tensor, labels: Tensor) -> Tensor:
    """[K, B, ...] weights of K teachers for each row, summing up to 1 over them.

    Args:
        logits: [K, B, ..., C]. labels: class ids [B, ...]; -100 where there is none (all teachers count alike there).

    Source: CA-MKD, Zhang et al. 2022, arXiv:2201.00007.
    """
    count = len(logits)
    each = labels.expand(count, *labels.shape)
    flat = F.cross_entropy(logits.flatten(0, -2), each.flatten(), reduction="none", ignore_index=IGNORED)
    return (1 - flat.view(each.shape).softmax(0)) / (count - 1)


def combine_problems(
    kind: str, weights: Sequence[float] | None, count: int, loss: Loss, family: str, targets: str = "ids"
) -> list[Problem]:
    """What is wrong with combining the taps of `count` teachers like this for `loss`. targets: what the labels of the
    task are, as `Loss.targets` says it."""
    asked, found = f"combine: {kind}", list[Problem]()
    if kind not in KINDS:
        near = (str(kind), KINDS)
        return [problem(asked, "no such way", near=near, fix=f"one of {', '.join(KINDS)}", where="combine")]
    if count < 2:
        fix = "from: [TEACHER_1, TEACHER_2], or leave combine out"
        found.append(problem(asked, f"it needs several teachers, the match has {count}", fix=fix, where="combine"))
    if family != "logits":
        fix = "a match for each teacher, as {tap: hidden, from: big}"
        found.append(problem(asked, f"taps of {family}; logits alone can be combined", fix=fix, where="combine"))
    elif kind != "mean_logits" and loss.reads == "logits":
        what = f'loss "{loss.name}" reads the logits themselves, and this gives probabilities'
        found.append(problem(asked, what, fix="combine: mean_logits, or a loss as kl", where="combine"))
    if kind == "gate" and targets != "ids":
        what = "it compares the teachers with the true class, and the labels are no classes"
        found.append(problem(asked, what, fix="combine: mean_logits", where="combine"))
    if weights is not None:
        found += _weight_problems(kind, weights, count)
    return found


def _weight_problems(kind: str, weights: Sequence[float], count: int) -> list[Problem]:
    asked = f"weights: {list(weights)}"
    if kind == "gate":
        return [problem(asked, "the gate gives the weights itself", fix="leave weights out", where="weights")]
    if len(weights) != count:
        return [problem(asked, f"{count} teachers", fix="one weight for each teacher of `from`", where="weights")]
    if any(isinstance(w, bool) or not isinstance(w, int | float) or not 0 < w < float("inf") for w in weights):
        return [problem(asked, "not all are numbers above 0", fix="as weights: [0.7, 0.3]", where="weights")]
    if min(weights) < LEAST_SHARE * max(weights):
        what = f"{min(weights)} counts nothing beside {max(weights)}"
        return [problem(asked, what, fix="as weights: [0.7, 0.3]", where="weights")]
    return []


def combination(kind: str, weights: Sequence[float] | None, count: int) -> Combination:
    """The `Combination` of `count` teachers, alike where no `weights` are given."""
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if not math.isfinite(sum(given)):
        given = [weight / max(given) for weight in given]
    return Combination(kind, tuple(weight / sum(given) for weight in given))
