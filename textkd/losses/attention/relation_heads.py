"""Relations between tokens by their queries, keys or values [B,h,T,d] (mask [B,T]), which is what MiniLM transfers.

A relation is softmax(x y^T / sqrt(d)) over the valid keys; x and y may be cut into another number of heads than the
models have, so neither widths nor heads of student and teacher need agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import fill, mean_of_samples, pair_mask, sample_means, widen
from textkd.losses.options import Range
from textkd.losses.registry import register
from textkd.losses.relations.parts import split_heads

Heads = Annotated[int, Range(0)]


@register(
    "relation",
    family="heads",
    source="MiniLM, Wang et al. 2020, arXiv:2002.10957 (of the values; its other half is kl on attention)",
    formula="mean over samples, heads and valid rows of KL(softmax(V_t V_t^T / sqrt(d_t)) || the same of the student)",
    any_width=True,
    per="row",
)
def relation(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, relation_heads: Heads = 0) -> Tensor:
    """KL divergence of the student's relation of a query, key or value to itself from the teacher's.

    relation_heads: cut the joined heads into so many; 0 keeps those of the models, which must be as many. Rows and keys
    that are padding are left out. Each sample weighs the same. Scalar.
    """
    return _kl(student, student, teacher, teacher, mask, relation_heads)


@register(
    "minilmv2",
    family="heads",
    source="MiniLMv2, Wang et al. 2021, arXiv:2012.15828; code: bloomberg/minilmv2.bb",
    formula="mean over relations of KL(softmax(X_t Y_t^T / sqrt(d_t)) || the same of the student), X, Y of Q, K, V",
    any_width=True,
    per="row",
    arity="kinds",
    distinct=True,
)
def minilmv2(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    mask: Tensor | None = None,
    *,
    relation_heads: Heads = 0,
    relations: list[str] | None = None,
) -> Tensor:
    """Mean of the KL divergences of the relations of queries, keys and values, each to itself (Q-Q, K-K, V-V).

    Takes lists of kinds, [query, key, value] or some of them. relation_heads: as in `relation`; the paper has 48 for
    base and 64 for large models. relations: pairs of the kinds by their places in the list; ["1-2", "3-3"] of [query,
    key, value] is MiniLM v1, null pairs each kind with itself. Scalar.
    """
    chosen = [(at, at) for at in range(len(student))] if relations is None else _places(relations, len(student))
    terms = [_kl(student[x], student[y], teacher[x], teacher[y], mask, relation_heads) for x, y in chosen]
    return torch.stack(terms).mean()


def _places(relations: list[str], kinds: int) -> list[tuple[int, int]]:
    places = []
    for name in relations:
        parts = name.split("-")
        if len(parts) != 2 or not all(p.isdigit() and 1 <= int(p) <= kinds for p in parts):
            fix = f'write two places from 1 to {kinds}, e.g. "1-1"'
            raise fail(f"the relation {name} of {kinds} kinds of tap", "there is no such pair", fix=fix)
        places.append((int(parts[0]) - 1, int(parts[1]) - 1))
    if not places:
        raise fail("the loss minilmv2 with relations=[]", "nothing to compare", fix="leave the option out")
    return places


def _kl(x_s: Tensor, y_s: Tensor, x_t: Tensor, y_t: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """Mean over heads and valid rows of each sample, then over samples."""
    pairs = pair_mask(mask)
    log_s, log_t = _log_relation(x_s, y_s, mask, pairs, heads), _log_relation(x_t, y_t, mask, pairs, heads)
    if log_s.shape != log_t.shape:
        found = f"student {list(log_s.shape)}, teacher {list(log_t.shape)} [batch, heads, queries, keys]"
        raise fail("relations of one shape", found, fix="set relation_heads to a divisor of both widths, e.g. 12")
    divergence = F.kl_div(log_s, log_t.to(log_s.dtype), reduction="none", log_target=True).sum(-1)
    rows = None if pairs is None else pairs.any(-1).expand(divergence.shape)
    return mean_of_samples(sample_means(divergence, rows), rows)


def _log_relation(x: Tensor, y: Tensor, mask: Tensor | None, pairs: Tensor | None, heads: int) -> Tensor:
    x, y = (_regrouped(v, mask, heads) for v in (x, y))
    scores = x @ y.transpose(-1, -2) / math.sqrt(x.shape[-1])
    pairs = None if pairs is None else pairs.expand(scores.shape)
    return F.log_softmax(fill(scores, pairs, torch.finfo(scores.dtype).min), dim=-1)


def _regrouped(x: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    x = widen(x).transpose(1, 2)
    if mask is not None and mask.dim() == 2:
        x = fill(x, mask)
    return (split_heads(x.flatten(2), heads, "relation") if heads else x).transpose(1, 2)
