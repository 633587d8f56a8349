"""Parts of the losses that compare relations instead of values: how the samples, tokens or channels of one side lie to
each other. Relations are compared across sides, so most of these losses take any two widths.

`similarity`: samples by inner product. `geometry`: samples by distance and angle. `distributions`: samples as a cloud.
`flow`, `singular`: tokens and channels within and between layers. `granularity`: tokens and phrases. `relation_heads`:
tokens by queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from textkd.errors import fail
from textkd.losses.masking import count, fill, widen
from textkd.losses.pooling import pooled, valid_rows

Points = Literal["mean", "first", "flat", "tokens"]
EPS = 1e-12


def sides(student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both sides in one float type of 32 bits or more, padding set to 0. All axes but the last must agree."""
    if student.shape[:-1] != teacher.shape[:-1]:
        raise fail(
            "relations of the same samples and tokens",
            f"student {list(student.shape)}, teacher {list(teacher.shape)}",
            fix="match taps of one kind; give student and teacher one tokenizer (or image size)",
        )
    student, teacher = widen(student), widen(teacher)
    dtype = torch.promote_types(student.dtype, teacher.dtype)
    return fill(student.to(dtype), mask), fill(teacher.to(dtype), mask)


def observations(
    student: Tensor, teacher: Tensor, mask: Tensor | None, pool: Points, least: int = 2
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What is compared with each other: [N,Hs], [N,Ht], and which of the N count (None: all). Those that do not are 0.

    pool, of [B,T,H] ([B,H] is taken as it is): "mean" of the valid positions or the "first" one, N = B; "flat", all
    positions of a sample side by side, N = B; "tokens", each position by itself, N = B T.
    """
    student, teacher = sides(student, teacher, mask)
    if student.dim() == 2:
        valid = None if mask is None else mask != 0
    elif pool == "tokens":
        student, teacher = student.flatten(0, 1), teacher.flatten(0, 1)
        valid = None if mask is None else (mask != 0).flatten()
    elif pool == "flat":
        student, teacher = student.flatten(1), teacher.flatten(1)
        valid = None if mask is None else (mask != 0).any(1)
    else:
        student, teacher = pooled(student, mask, pool), pooled(teacher, mask, pool)
        valid = valid_rows(mask, pool)
    need_rows(student, least)
    return student, teacher, valid


def need_rows(x: Tensor, least: int) -> None:
    """Refuses a batch with fewer samples than can be compared with each other."""
    if len(x) < least:
        found = f"{len(x)} of them"
        raise fail(f"relations between {least} samples or more", found, fix="use a larger batch")


def outer(valid: Tensor | None) -> Tensor | None:
    """[N,N] the pairs of which both count."""
    return None if valid is None else valid[:, None] & valid


def valid_first(valid: Tensor | None) -> Tensor | slice:
    """The order that puts the samples that count first, so that each is a neighbour of the next one that counts."""
    return slice(None) if valid is None else (~valid).to(torch.uint8).argsort(stable=True)


def unit(x: Tensor, dim: int = -1, order: int = 2) -> Tensor:
    """`x` scaled to length 1 along `dim` in the norm of `order`; 0, with gradient 0, where it has no direction."""
    length = torch.linalg.vector_norm(x, ord=order, dim=dim, keepdim=True)
    there = length > EPS
    return torch.where(there, x / torch.where(there, length, 1.0), 0.0)


def squared_distances(x: Tensor) -> Tensor:
    """[N,H] -> [N,N], 0 on the diagonal and at least `EPS` off it, so that a square root has a finite gradient."""
    x = x - x.mean(0, keepdim=True).detach()  # changes no distance; keeps what both have in common out of the rounding
    gram = x @ x.T
    squares = gram.diagonal()
    apart = (squares[:, None] + squares - 2 * gram).clamp(min=EPS)
    return apart.masked_fill(torch.eye(len(x), dtype=torch.bool, device=x.device), 0.0)


def token_gram(x: Tensor, other: Tensor | None = None) -> Tensor:
    """[B,T,H] -> [B,T,T]: inner products between the positions of each sample (of `x` with those of `other`)."""
    return x @ (x if other is None else other).transpose(1, 2)


def centred(x: Tensor, valid: Tensor | None) -> Tensor:
    """[N,H] minus the mean of the rows that count; the others are 0."""
    total = count(x[:, 0], valid)
    return fill(x - x.sum(0) / total, valid)


def split_heads(x: Tensor, heads: int, name: str) -> Tensor:
    """[..., H] -> [..., heads, H / heads]."""
    if heads < 1 or x.shape[-1] % heads:
        found = f"a width of {x.shape[-1]}, which is no multiple"
        raise fail(f"the loss {name} with {heads} heads of relations", found, fix="give a divisor of both widths")
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def need_tokens(name: str, *taps: Tensor) -> None:
    """Refuses vectors [B,H] where positions are compared."""
    if any(tap.dim() != 3 for tap in taps):
        found = " and ".join(str(list(tap.shape)) for tap in taps)
        raise fail(f"the loss {name} between positions", f"taps of shape {found}", fix="tap [B,T,H], e.g. hidden:2")


def same_layers(name: str, student: Sequence[Tensor], teacher: Sequence[Tensor], least: int = 1) -> None:
    """Refuses lists of layers of different lengths, and of fewer than `least`."""
    if len(student) != len(teacher) or len(student) < least:
        found = f"{len(student)} of the student, {len(teacher)} of the teacher"
        raise fail(f"the loss {name} over {least} layers or more", found, fix="name as many layers of each side")


def consecutive(layers: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each layer with the next one; a single layer with itself."""
    return list(pairwise(layers)) if len(layers) > 1 else [(layers[0], layers[0])]
