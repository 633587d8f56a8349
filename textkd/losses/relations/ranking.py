"""Rankings of the samples of a batch: the student keeps the order in which the teacher sees the others around a sample.

Each sample is in turn a query q; the others x have the score S = -alpha * ||q - x||^power, and a ranking has the
probability prod_i exp(S_i) / sum_{j >= i} exp(S_j) (Plackett-Luce). Hidden states [B,T,H] are pooled to one vector per
sample, [B,H] is taken as it is; the two sides may have different widths. At least three samples: two have one order."""

from __future__ import annotations

from itertools import permutations
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import widen
from textkd.losses.options import NonNegative, Positive, Range
from textkd.losses.pooling import Pool, pooled, valid_rows
from textkd.losses.registry import register

Queries = Literal["all", "first_half"]
Length = Annotated[int, Range(0)]
_SOURCE = "DarkRank, Chen et al. 2018, arXiv:1707.01220; code: TuSimple/DarkRank"
_SAMPLES = 3
_CLOSEST = 1e-12  # squared distance; a root has no gradient at 0


@register(
    "list_mle",
    family="hidden",
    source=f"{_SOURCE} (ListMLELoss), lenscloth/RKD (HardDarkRank)",
    formula="mean over queries of -log P_s(order in which the teacher ranks the others)",
    any_width=True,
    per="row",
    min_rows=_SAMPLES,
    to_target="stops",
    gradient_options=("query_gradient",),
)
def list_mle(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    alpha: Positive = 3.0,
    power: Positive = 3.0,
    length: Length = 4,
    eps: NonNegative = 0.0,
    norm: NonNegative = 1.0,
    queries: Queries = "all",
    query_gradient: bool = True,
    pool: Pool = "mean",
) -> Tensor:
    """Likelihood of the teacher's ranking under the student: DarkRank's hard form.

    alpha, power: of the score; DarkRank's code has squared distances, so its power is half of this one. length: only
    the first so many of the ranking (0: all). eps: added to the likelihood inside the logarithm (DarkRank's code 1e-12,
    where the gradient of an unlikely order fades; not in its hand-written gradient). norm: scales all vectors to this
    length first (0: as they are; the student's and teacher's distances need not be of one size, but exp(-alpha d^power)
    should not vanish). queries: "first_half" has the first half of the batch only (DarkRank's pair sampler).
    query_gradient: off, the student's query is held fixed, as in DarkRank's hand-written gradient. pool: of [B,T,H].
    Scalar.
    """
    s, t = _vectors(student, teacher, mask, norm, pool)
    ranked = _ranked(_scores(t, 1.0, power, queries), length)
    log_p = _log_likelihood(_scores(s, alpha, power, queries, query_gradient).gather(1, ranked))
    if eps > 0:
        log_p = torch.logaddexp(log_p, log_p.new_tensor(eps).log())
    return -log_p.mean()


@register(
    "list_net",
    family="hidden",
    source=f"{_SOURCE} (ListNetLoss)",
    formula="mean over queries of -sum over orders o of P_t(o) log P_s(o), of the teacher's nearest samples",
    any_width=True,
    per="row",
    min_rows=_SAMPLES,
    gradient_options=("query_gradient",),
)
def list_net(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    alpha: Positive = 3.0,
    power: Positive = 3.0,
    length: Annotated[int, Range(2, 6)] = 4,
    norm: NonNegative = 1.0,
    queries: Queries = "all",
    query_gradient: bool = True,
    pool: Pool = "mean",
) -> Tensor:
    """Cross entropy between the two sides' probabilities of every order: DarkRank's soft form.

    length: how many of the samples nearest to the query (for the teacher) are ordered: length! orders. The other
    options as in `list_mle`. Scalar.
    """
    s, t = _vectors(student, teacher, mask, norm, pool)
    scores_t = _scores(t, alpha, power, queries)
    nearest = _ranked(scores_t, length)
    orders = torch.tensor(list(permutations(range(nearest.shape[1]))), device=s.device)
    listed = nearest[:, orders]  # [queries, orders, length]

    def log_p(scores: Tensor) -> Tensor:
        return _log_likelihood(scores.gather(1, listed.flatten(1)).view(listed.shape))

    target = log_p(scores_t).exp()
    return -(target * log_p(_scores(s, alpha, power, queries, query_gradient))).sum(1).mean()


@register(
    "score_mse",
    family="hidden",
    source=f"{_SOURCE} (ListMSELoss)",
    formula="mean over queries of sum over the others of (S_s - S_t)^2",
    any_width=True,
    per="row",
    min_rows=2,
    gradient_options=("query_gradient",),
)
def score_mse(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    alpha: Positive = 1.0,
    power: Positive = 2.0,
    norm: NonNegative = 1.0,
    queries: Queries = "all",
    query_gradient: bool = True,
    reduction: Literal["mean", "sum"] = "mean",
    pool: Pool = "mean",
) -> Tensor:
    """Squared difference of the scores themselves, without a ranking.

    reduction: mean or sum over the queries (DarkRank's code: the value is the sum, its gradient that of the mean). The
    other options as in `list_mle`. Scalar.
    """
    s, t = _vectors(student, teacher, mask, norm, pool, least=2)
    gaps = _scores(s, alpha, power, queries, query_gradient) - _scores(t, alpha, power, queries)
    rows = gaps.square().sum(1)
    return rows.sum() if reduction == "sum" else rows.mean()


def _vectors(
    student: Tensor, teacher: Tensor, mask: Tensor | None, norm: float, pool: Pool, least: int = _SAMPLES
) -> tuple[Tensor, Tensor]:
    """One vector per sample of both sides, without the samples of which the mask leaves nothing."""
    s, t = (pooled(widen(x), mask, pool) for x in (student, teacher))
    alive = valid_rows(mask, pool)
    if alive is not None:
        s, t = s[alive], t[alive]
    if len(s) < least:
        raise fail("a ranking within the batch", f"{len(s)} samples", fix=f"take a batch of {least} or more")
    return (s, t) if norm == 0 else (norm * F.normalize(s, dim=-1, eps=1e-6), norm * F.normalize(t, dim=-1, eps=1e-6))


def _scores(x: Tensor, alpha: float, power: float, queries: Queries, query_gradient: bool = True) -> Tensor:
    """-alpha * distance^power from each query to all: [queries, B]; a query's own score is 0."""
    q = x[: len(x) // 2] if queries == "first_half" else x
    q = q if query_gradient else q.detach()
    squares = q.square().sum(1)[:, None] + x.square().sum(1)[None] - 2.0 * q @ x.T
    own = torch.eye(len(q), len(x), dtype=torch.bool, device=x.device)
    distances = squares.clamp_min(_CLOSEST).pow(power / 2)
    return -alpha * torch.where(own, 0.0, distances)


def _ranked(scores: Tensor, length: int) -> Tensor:
    """The others of each query, best score first: [queries, length]. The query itself has 0, the best of all."""
    order = scores.argsort(dim=1, descending=True, stable=True)[:, 1:]
    return order[:, :length] if length else order


def _log_likelihood(ordered: Tensor) -> Tensor:
    """The log probability of the order in which the scores [...,n] stand: [...]."""
    rest = ordered.flip(-1).logcumsumexp(-1).flip(-1)
    return (ordered - rest).sum(-1)
