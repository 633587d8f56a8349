"""An independent formula, in numpy and scipy with plain loops, for every registered loss.

REFERENCES maps (family, name) to a `Row`. A loss without a row fails the suite; so does an option that no row tries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cosine as cosine_distance
from scipy.special import expit, log_softmax, rel_entr, softmax

Array = np.ndarray
LENGTHS_MASK = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]])  # a hole; a sample without anything


@dataclass(frozen=True)
class Case:
    """student, teacher (or labels) and mask as numpy arrays."""

    student: Array
    teacher: Array
    mask: Array | None

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        teacher = torch.tensor(self.teacher)
        teacher = teacher.to(dtype) if teacher.is_floating_point() else teacher
        return torch.tensor(self.student, dtype=dtype), teacher, None if self.mask is None else torch.tensor(self.mask)

    def samples(self, which: slice) -> Case:
        return Case(self.student[which], self.teacher[which], None if self.mask is None else self.mask[which])


@dataclass(frozen=True)
class Row:
    reference: Callable[..., float]
    cases: Callable[[np.random.Generator], list[Case]]
    variants: list[dict[str, Any]] = field(default_factory=lambda: [{}])


def valid_rows(shape: tuple[int, ...], mask: Array | None) -> Iterator[tuple[int, ...]]:
    return (i for i in np.ndindex(*shape) if mask is None or mask[i[: mask.ndim]])


def reduced(values: dict[tuple[int, ...], float], reduction: str, classes: int) -> float:
    total = math.fsum(values.values())
    if reduction == "sum":
        return total
    if reduction == "sequence_mean":
        by_sample: dict[int, list[float]] = {}
        for index, value in values.items():
            by_sample.setdefault(index[0], []).append(value)
        return float(np.mean([np.mean(v) for v in by_sample.values()]))
    return total / len(values) / (classes if reduction == "mean" else 1)


def logits_kl(s, t, mask, temperature=1.0, scale_by_t2=True, reduction="batchmean", standardise=False, chunk=0):
    if standardise:
        s, t = ((x - x.mean(-1, keepdims=True)) / (x.std(-1, ddof=1, keepdims=True) + 1e-7) for x in (s, t))
    values = {
        i: rel_entr(softmax(t[i] / temperature), softmax(s[i] / temperature)).sum()
        for i in valid_rows(s.shape[:-1], mask)
    }
    return reduced(values, reduction, s.shape[-1]) * (temperature**2 if scale_by_t2 else 1)


def logits_soft_cross_entropy(s, t, mask, temperature=1.0, scale_by_t2=True, reduction="batchmean", chunk=0):
    values = {}
    for i in valid_rows(s.shape[:-1], mask):
        p, log_q = softmax(t[i] / temperature), log_softmax(s[i] / temperature)
        values[i] = -sum(p[c] * log_q[c] for c in range(s.shape[-1]))
    return reduced(values, reduction, s.shape[-1]) * (temperature**2 if scale_by_t2 else 1)


def logits_mse(s, t, mask, temperature=1.0, reduction="mean"):
    values = {i: np.sum(((s[i] - t[i]) / temperature) ** 2) for i in valid_rows(s.shape[:-1], mask)}
    if reduction == "half_sum":
        return reduced(values, "batchmean", s.shape[-1]) / 2
    return reduced(values, reduction, s.shape[-1])


def logits_bce(s, t, mask, temperature=1.0, scale_by_t2=True):
    found = []
    for i in valid_rows(s.shape, mask):
        p, q = expit(s[i] / temperature), expit(t[i] / temperature)
        found.append(-(q * math.log(p) + (1 - q) * math.log1p(-p)))
    return np.mean(found) * (temperature**2 if scale_by_t2 else 1)


def element_mse(s, t, mask, reduction="mean"):
    found = {i: np.sum((s[i] - t[i]) ** 2) for i in valid_rows(s.shape[:-1], mask)}
    return reduced_elements(found, reduction, s.shape[-1])


def reduced_elements(found, reduction, width):
    samples = 1 if reduction == "sum" else len({i[0] for i in found}) if reduction == "per_sample" else len(found)
    return math.fsum(found.values()) / samples / (width if reduction == "mean" else 1)


def unit_vectors_mse(s, t, mask, positions="all", reduction="mean"):
    if positions == "first" and s.ndim == 3:
        s, t, mask = s[:, 0], t[:, 0], None if mask is None else mask[:, 0]
    found = {
        i: np.sum((s[i] / math.sqrt(s[i] @ s[i]) - t[i] / math.sqrt(t[i] @ t[i])) ** 2)
        for i in valid_rows(s.shape[:-1], mask)
    }
    return reduced_elements(found, reduction, s.shape[-1])


def cosine(s, t, mask):
    return np.mean([cosine_distance(s[i], t[i]) for i in valid_rows(s.shape[:-1], mask)])


def valid_pairs(mask: Array | None, b: int, q: int, k: int) -> bool:
    if mask is None:
        return True
    return bool(mask[b, q] and mask[b, k]) if mask.ndim == 2 else bool(mask[b, q, k])


def pairs_mse(s, t, mask, heads="same", pairs="valid", zero_below=None):
    if heads != "same":
        s, t = (getattr(x, heads)(1, keepdims=True) for x in (s, t))
    if zero_below is not None:
        s, t = (np.where(x <= zero_below, 0.0, x) for x in (s, t))
    found = [(s[b, h, q, k] - t[b, h, q, k]) ** 2 for b, h, q, k in np.ndindex(*s.shape) if valid_pairs(mask, b, q, k)]
    if pairs == "valid":
        return np.mean(found)
    return math.fsum(found) / s[0].size / sum(mask is None or mask[b].any() for b in range(len(s)))


def attention_kl(s, t, mask, eps=1e-12):
    found = []
    for b, h, q in np.ndindex(*s.shape[:3]):
        keys = [k for k in range(s.shape[3]) if valid_pairs(mask, b, q, k)]
        if keys:
            p, r = t[b, h, q], s[b, h, q]
            found.append(sum(p[k] * (math.log(max(p[k], eps)) - math.log(max(r[k], eps))) for k in keys))
    return np.mean(found)


def heads_mse(s, t, mask):
    found = [(s[b, h, i, d] - t[b, h, i, d]) ** 2 for b, h, i, d in np.ndindex(*s.shape) if mask is None or mask[b, i]]
    return np.mean(found)


def labels_cross_entropy(s, y, mask, label_smoothing=0.0, chunk=0):
    found = []
    for i in valid_rows(y.shape, mask):
        if y[i] != -100:
            log_p = log_softmax(s[i])
            found.append(-(1 - label_smoothing) * log_p[y[i]] - label_smoothing * np.mean(log_p))
    return np.mean(found)


def labels_mse(s, y, mask):
    flat = s[..., 0] if s.ndim > y.ndim else s
    return np.mean([(flat[i] - y[i]) ** 2 for i in valid_rows(y.shape, mask)])


def labels_bce(s, y, mask):
    found = []
    for i in valid_rows(s.shape, mask):
        p = expit(s[i])
        found.append(-(y[i] * math.log(p) + (1 - y[i]) * math.log1p(-p)))
    return np.mean(found)


def vectors(rng: np.random.Generator) -> list[Case]:
    def make(*shape: int) -> tuple[Array, Array]:
        return rng.normal(size=shape), rng.normal(size=shape)

    return [
        Case(*make(4, 5), None),
        Case(*make(4, 5), np.array([1, 0, 1, 1])),
        Case(*make(4, 4, 5), None),
        Case(*make(4, 4, 5), LENGTHS_MASK),
    ]


def scores(rng: np.random.Generator) -> list[Case]:
    def make() -> tuple[Array, Array]:
        return rng.normal(size=(4, 2, 4, 4)), rng.normal(size=(4, 2, 4, 4))

    causal = np.tril(np.ones((4, 4), int)) * LENGTHS_MASK[:, None, :] * LENGTHS_MASK[:, :, None]
    return [Case(*make(), None), Case(*make(), LENGTHS_MASK), Case(*make(), causal)]


def attention(rng: np.random.Generator) -> list[Case]:
    def normalise(x: Array, mask: Array | None) -> Array:
        allowed = np.array([[valid_pairs(mask, b, q, k) for b, _, q, k in np.ndindex(*x.shape)]]).reshape(x.shape)
        weights = np.exp(x) * allowed
        return weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)

    return [Case(normalise(c.student, c.mask), normalise(c.teacher, c.mask), c.mask) for c in scores(rng)]


def heads(rng: np.random.Generator) -> list[Case]:
    def make() -> tuple[Array, Array]:
        return rng.normal(size=(4, 2, 4, 3)), rng.normal(size=(4, 2, 4, 3))

    return [Case(*make(), None), Case(*make(), LENGTHS_MASK)]


def class_ids(rng: np.random.Generator) -> list[Case]:
    return [
        Case(rng.normal(size=(4, 3)), np.array([0, 2, 1, 1]), None),
        Case(rng.normal(size=(4, 3)), np.array([0, -100, 1, 1]), np.array([1, 1, 0, 1])),
        Case(rng.normal(size=(4, 4, 3)), rng.integers(0, 3, size=(4, 4)), LENGTHS_MASK),
    ]


def targets(rng: np.random.Generator) -> list[Case]:
    some = np.array([1, 0, 1, 1])
    return [
        Case(rng.normal(size=(4, 1)), rng.normal(size=4), None),
        Case(rng.normal(size=4), rng.normal(size=4), some),
        Case(rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), some),
    ]


def many_hot(rng: np.random.Generator) -> list[Case]:
    def make() -> tuple[Array, Array]:
        return rng.normal(size=(4, 3)), rng.integers(0, 2, size=(4, 3)).astype(float)

    return [Case(*make(), None), Case(*make(), np.array([1, 0, 1, 1]))]


SOFTENED = [
    {},
    {"temperature": 4.0},
    {"temperature": 0.5, "scale_by_t2": False},
    *({"temperature": 2.0, "reduction": r} for r in ("mean", "token_mean", "sequence_mean", "sum")),
]
# rows are computed a few at a time: that changes nothing, so the references do not look at it
CHUNKED = [{"temperature": 2.0, "chunk": 3}, {"reduction": "sequence_mean", "chunk": 1}]
REDUCED = [{}, *({"reduction": kind} for kind in ("token_mean", "per_sample", "sum"))]
MAPS = [{}, {"heads": "mean"}, {"heads": "sum"}, {"pairs": "all"}, {"zero_below": 0.1}]
REFERENCES = {
    ("labels", "cross_entropy"): Row(
        labels_cross_entropy, class_ids, [{}, {"label_smoothing": 0.1}, {"label_smoothing": 0.1, "chunk": 3}]
    ),
    ("labels", "mse"): Row(labels_mse, targets),
    ("labels", "bce"): Row(labels_bce, many_hot),
    ("logits", "kl"): Row(
        logits_kl,
        vectors,
        [*SOFTENED, *CHUNKED, *({"temperature": 2.0, "standardise": True, "chunk": n} for n in (0, 3))],
    ),
    ("logits", "soft_cross_entropy"): Row(logits_soft_cross_entropy, vectors, [*SOFTENED, *CHUNKED]),
    ("logits", "mse"): Row(
        logits_mse,
        vectors,
        [{"temperature": 2.0}, *({"reduction": r} for r in ("mean", "batchmean", "half_sum", "sequence_mean", "sum"))],
    ),
    ("logits", "bce"): Row(logits_bce, vectors, SOFTENED[:3]),
    ("hidden", "mse"): Row(element_mse, vectors, REDUCED),
    ("hidden", "normalised_mse"): Row(unit_vectors_mse, vectors, [*REDUCED, {"positions": "first"}]),
    ("hidden", "cosine"): Row(cosine, vectors),
    ("attention", "mse"): Row(pairs_mse, attention, MAPS),
    ("attention", "kl"): Row(attention_kl, attention, [{}, {"eps": 0.05}]),
    ("scores", "mse"): Row(pairs_mse, scores, MAPS),
    ("heads", "mse"): Row(heads_mse, heads),
}
