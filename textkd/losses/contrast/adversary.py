"""Adversaries: a discriminator learns to tell the student's tensors from the teacher's, the student learns that it
cannot. Both in one backward pass: the gradient of the discriminator's own loss is reversed on its way into the student.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import aligned, masked_mean
from textkd.losses.modules import Linear, options_of, width_of
from textkd.losses.options import NonNegative, Range
from textkd.losses.pooling import Pool, pooled, valid_rows
from textkd.losses.registry import register
from textkd.losses.shapes import Shape


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradients[0], None


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """`x` itself; its gradient is multiplied by -scale (Ganin & Lempitsky 2015, arXiv:1409.7495)."""
    apply: Any = _Reverse.apply
    reversed_: Tensor = apply(x, scale)
    return reversed_


class Discriminator(nn.Module):
    """Residual MLP [..., inputs] -> scores [..., outputs], computed in the type of its input.

    width: of its hidden layers. blocks: how many of x + MLP(x).
    """

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = Linear(inputs, width)
        self.inner = nn.ModuleList(Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(Linear(width, width) for _ in range(blocks))
        self.leave = Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.enter(x)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = x + outer(F.relu(inner(F.relu(x))))
        scores: Tensor = self.leave(F.relu(x))
        return scores


@register(
    "adversarial",
    family="logits",
    source="conditional adversarial networks, Xu et al. 2018, arXiv:1709.00513 (no official code)",
    formula="-log D(z_t) - log(1 - D(z_s)) - log P_D(y | z_t) - log P_D(y | z_s) + l1 * ||z_s - z_t||_1, "
    "the gradient of log(1 - D(z_s)) reversed for the student",
    needs=("labels",),
    min_classes=2,
    gradient_options=("reversal",),
)
class ConditionalAdversary(nn.Module):
    """A discriminator of logits with two heads, teacher or student, and which class; and the L1 distance of the logits.

    Mean over samples (valid tokens). width, blocks: of the residual MLP. reversal: multiplies the reversed gradient
    that the student gets. classes: weight of the class head, which teaches the student too, unreversed; labels of -100
    count for nothing. l1: weight of the distance. The value falls as the discriminator gets better. Scalar.
    """

    def __init__(
        self,
        student: Shape,
        teacher: Shape,
        *,
        width: Annotated[int, Range(1)] = 128,
        blocks: Annotated[int, Range(0)] = 1,
        reversal: NonNegative = 1.0,
        classes: NonNegative = 1.0,
        l1: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.reversal, self.classes, self.l1 = reversal, classes, l1
        self.discriminator = Discriminator(
            width_of(student, "adversarial"), 1 + width_of(teacher, "adversarial"), width, blocks
        )

    def extra_repr(self) -> str:
        """The options, by which two of these are told apart."""
        return options_of(self, "reversal", "classes", "l1")

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, labels: Tensor) -> Tensor:
        """See the class. labels: [B] or [B,T] class ids."""
        student, teacher = aligned(student, teacher, mask)
        if labels.shape != student.shape[:-1] or labels.is_floating_point():
            found = f"labels {list(labels.shape)} of {labels.dtype} for logits {list(student.shape)}"
            fix = "take it out, or give class ids; a discriminator of hidden states needs no labels"
            raise fail("the loss adversarial on logits, which takes a class id each", found, fix=fix)
        real = self.discriminator(teacher)
        fake = self.discriminator(reverse_gradient(student, self.reversal))
        loss = masked_mean(_real_or_fake(real[..., 0], fake[..., 0]), mask)
        if self.classes:
            seen = self.discriminator(student)  # the scores of `fake`, for the head whose gradient is not reversed
            errors = [_class_error(scores[..., 1:], labels, mask) for scores in (real, seen)]
            loss = loss + self.classes * (errors[0] + errors[1])
        if self.l1:
            loss = loss + self.l1 * masked_mean((student - teacher).abs().sum(-1), mask)
        return loss


@register(
    "adversarial",
    family="hidden",
    source="GAN, Goodfellow et al. 2014, arXiv:1406.2661, on features; reversal: arXiv:1409.7495",
    formula="mean of -log D(h_t) - log(1 - D(h_s)), the gradient of the second term reversed for the student",
    per_row_if={"pool": ("mean", "first")},
    gradient_options=("reversal",),
)
class FeatureAdversary(nn.Module):
    """A discriminator learns to tell the teacher's vectors from the student's, the student learns to be taken for it.

    pool: of [B,T,H], the "mean" of the valid positions, the "first" one, or "none": each position by itself. width,
    blocks: of the residual MLP. reversal: multiplies the reversed gradient that the student gets. The value falls as
    the discriminator gets better. Scalar.
    """

    def __init__(
        self,
        student: Shape,
        teacher: Shape,
        *,
        pool: Literal["mean", "first", "none"] = "mean",
        width: Annotated[int, Range(1)] = 128,
        blocks: Annotated[int, Range(0)] = 1,
        reversal: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.pool: Pool | Literal["none"] = pool
        self.reversal = reversal
        self.discriminator = Discriminator(width_of(teacher, "adversarial"), 1, width, blocks)

    def extra_repr(self) -> str:
        """The options, by which two of these are told apart."""
        return options_of(self, "pool", "reversal")

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class."""
        student, teacher = aligned(student, teacher, mask)
        if self.pool != "none":
            student, teacher = pooled(student, mask, self.pool), pooled(teacher, mask, self.pool)
            mask = valid_rows(mask, self.pool)
        fake, real = self.discriminator(reverse_gradient(student, self.reversal)), self.discriminator(teacher)
        return masked_mean(_real_or_fake(real[..., 0], fake[..., 0]), mask)


def _real_or_fake(real: Tensor, fake: Tensor) -> Tensor:
    """Cross entropy of each pair of scores."""
    return F.softplus(-real) + F.softplus(fake)


def _class_error(scores: Tensor, labels: Tensor, mask: Tensor | None) -> Tensor:
    valid = labels >= 0
    if mask is not None:
        valid = valid & (mask != 0)
    error = F.cross_entropy(scores.flatten(0, -2), labels.clamp(min=0).flatten(), reduction="none")
    return masked_mean(error, valid.flatten())
