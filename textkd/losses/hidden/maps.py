"""Activation maps: how strongly each position is active, [B,T] out of hidden states [B,T,H], whatever their width."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import aligned, fill, masked_mean, widen
from textkd.losses.options import Positive, Range
from textkd.losses.registry import register

Power = Annotated[float, Range(1.0)]


@register(
    "activation_map",
    family="hidden",
    source="Attention transfer, Zagoruyko & Komodakis 2017, arXiv:1612.03928; code: szagoruyko/attention-transfer",
    formula="mean over positions of (Q_s/||Q_s|| - Q_t/||Q_t||)^2, Q = mean over width of |h|^p",
    any_width=True,
    tokens=True,
    per_row_if={"positions": ("sum",)},
)
def activation_map(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    power: Power = 2.0,
    width: Literal["mean", "sum"] = "mean",
    absolute: bool = True,
    positions: Literal["mean", "sum"] = "mean",
    eps: Positive = 1e-12,
    add_eps: bool = False,
    skip: Annotated[int, Range(0)] = 0,
) -> Tensor:
    """Squared difference of the two activation maps, each scaled to length 1 over the sample's valid positions.

    power p; width: how |h|^p of a position is gathered; absolute: off, signs stay where p is odd (RepDistiller).
    positions: "mean" over all valid positions of the batch (the codes; small for long samples, beta is 1000 there) or
    "sum" within a sample, then the mean over samples (the paper's squared distance, 0 to 4). eps: floor of a map's
    length, or with add_eps added to it (Knowledge-Distillation-Zoo, 1e-6). skip: first positions left out, such as
    the class token of a ViT, which is no place in the image. Scalar.
    """
    if student.dim() != 3 or student.shape[:2] != teacher.shape[:2]:
        found = (
            f"one shape [B,T,H], H may differ, is needed: student {list(student.shape)}, teacher {list(teacher.shape)}"
        )
        raise fail("activation maps", found, fix="hidden states of the same positions")
    student, teacher = student[:, skip:], teacher[:, skip:]
    mask = None if mask is None else mask[:, skip:]
    maps = (activity(x, mask, power, width, absolute) for x in (student, teacher))
    mine, its = (unit_length(x, eps, add_eps) for x in maps)
    mine, its = aligned(mine, its, mask)
    squares = (mine - its).square()
    if positions == "mean":
        return masked_mean(squares, mask)
    return masked_mean(masked_rows(squares, mask), None if mask is None else (mask != 0).any(1))


def activity(
    hidden: Tensor, mask: Tensor | None, power: float, width: Literal["mean", "sum"], absolute: bool
) -> Tensor:
    """[B,T]: |h|^power gathered over the width of [B,T,H]; 0 at invalid positions."""
    if not absolute and not float(power).is_integer():
        raise fail(f"power={power:g} with absolute: false", "a negative number has no such power", fix="a whole power")
    hidden = fill(widen(hidden), mask)
    powers = (hidden.abs() if absolute else hidden) ** (int(power) if float(power).is_integer() else power)
    return powers.mean(-1) if width == "mean" else powers.sum(-1)


def unit_length(x: Tensor, eps: float = 1e-12, add_eps: bool = False) -> Tensor:
    """`x` [B,...] with each sample scaled to length 1; a sample of zeros stays zero, with a finite gradient."""
    flat = x.flatten(1)
    scaled = flat / (flat.norm(dim=1, keepdim=True) + eps) if add_eps else F.normalize(flat, dim=1, eps=eps)
    return scaled.reshape(x.shape)


def masked_rows(values: Tensor, mask: Tensor | None) -> Tensor:
    """[B]: the sums of `values` [B,...] over each sample's valid positions."""
    return fill(values, mask).flatten(1).sum(1)
