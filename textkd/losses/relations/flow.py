"""Inner products within and between layers, of channels [H,H] or of tokens [T,T]: FSP, NST and TextBrewer's forms of
them. Taps [B,T,H], mask [B,T]. n: a sample's number of valid positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from textkd.losses.masking import aligned, masked_mean, mean_of_samples, pair_mask
from textkd.losses.registry import register
from textkd.losses.relations.parts import consecutive, need_tokens, same_layers, sides, token_gram, unit

OverLayers = Literal["sum", "mean"]


@register(
    "fsp",
    family="hidden",
    source="Flow of solution procedure, Yim et al. 2017 (CVPR); fsp/gram of airaria/TextBrewer",
    formula="sum over layers of mean of (G_s - G_t)^2, G = h_l^T h_(l+1) / n",
    per="row",
    arity="layers",
    tokens=True,
)
def fsp(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    reduction: OverLayers = "sum",
) -> Tensor:
    """Compares how the channels of a layer go with those of the next one: [H,H] per sample and pair of layers.

    Takes lists of layers: each is paired with the next one, a single layer with itself (its Gram matrix, as style
    losses have it). Mean over samples and H x H, then sum or mean over the pairs of layers. Scalar.
    """
    same_layers("fsp", student, teacher)
    need_tokens("fsp", *student, *teacher)
    losses = []
    for s, t in zip(consecutive(student), consecutive(teacher), strict=True):
        (s_0, t_0), (s_1, t_1) = aligned(s[0], t[0], mask), aligned(s[1], t[1], mask)
        valid = s_0.shape[1] if mask is None else (mask != 0).sum(1).clamp(min=1)[:, None, None]
        apart = s_0.transpose(1, 2) @ s_1 / valid - t_0.transpose(1, 2) @ t_1 / valid
        losses.append(mean_of_samples(apart.square().mean((1, 2)), mask))
    return _reduced(losses, reduction)


@register(
    "token_gram",
    family="hidden",
    source="mmd/nst of airaria/TextBrewer",
    formula="sum over layers of mean over valid pairs of tokens of (h_l h_(l+1)^T / H_s - same of the teacher)^2",
    any_width=True,
    per="pair",
    arity="layers",
    tokens=True,
)
def token_gram_mse(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    reduction: OverLayers = "sum",
) -> Tensor:
    """Compares how the tokens of a layer go with those of the next one: [T,T] per sample and pair of layers.

    Takes lists of layers: each is paired with the next one, a single layer with itself. Mean over the valid pairs of
    tokens of the batch, then sum or mean over the pairs of layers. Any two widths. Scalar.
    """
    same_layers("token_gram", student, teacher)
    need_tokens("token_gram", *student, *teacher)
    losses = []
    for s, t in zip(consecutive(student), consecutive(teacher), strict=True):
        (s_0, t_0), (s_1, t_1) = sides(s[0], t[0], mask), sides(s[1], t[1], mask)
        apart = token_gram(s_0, s_1) / s_1.shape[-1] - token_gram(t_0, t_1) / t_1.shape[-1]
        losses.append(masked_mean(apart[:, None].square(), pair_mask(mask)))
    return _reduced(losses, reduction)


@register(
    "nst",
    family="hidden",
    source="Neuron selectivity transfer, Huang & Wang 2017, arXiv:1707.01219 (kernel (x^T y)^2)",
    formula="mean over samples of mean_ij of k(s_i,s_j) + k(t_i,t_j) - 2 k(s_i,t_j), k = (x^T y)^2 of unit channels",
    any_width=True,
    per="row",
    tokens=True,
)
def nst(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Squared maximum mean discrepancy of the student's channels from the teacher's: where in the text each is active.

    A channel is a vector over the valid positions, scaled to length 1. The kernel is the square of the inner product,
    for which the mean over all pairs of channels (H^2 of them) equals a difference of T x T matrices; that is what is
    computed. Scalar.
    """
    need_tokens("nst", student, teacher)
    student, teacher = sides(student, teacher, mask)
    g_s, g_t = (token_gram(unit(x, dim=1)) / x.shape[-1] for x in (student, teacher))
    return mean_of_samples((g_s - g_t).square().sum((1, 2)), mask)


def _reduced(losses: list[Tensor], reduction: OverLayers) -> Tensor:
    total = torch.stack(losses)
    return total.sum() if reduction == "sum" else total.mean()
