"""Independent formulas, in numpy and scipy with plain loops, for the divergences and relations of logits."""

from __future__ import annotations

import numpy as np
from loss_references import CHUNKED, Case, Row, reduced, valid_rows, vectors
from scipy.special import rel_entr, softmax

LABELS = {1: np.array([0, 4, 2, 1]), 2: np.array([[0, 1, 2, 3], [4, -100, 1, 2], [0, 0, 0, 0], [3, 1, 1, 1]])}


def probabilities(s, t, i, temperature):
    return softmax(s[i] / temperature), softmax(t[i] / temperature)


def divergence(row):
    """The reference of a loss that is a mean of `row(p_s, p_t, **own options)`."""

    def reference(s, t, mask, temperature=1.0, scale_by_t2=True, reduction="batchmean", chunk=0, **options):
        values = {i: row(*probabilities(s, t, i, temperature), **options) for i in valid_rows(s.shape[:-1], mask)}
        return reduced(values, reduction, s.shape[-1]) * (temperature**2 if scale_by_t2 else 1)

    return reference


def kl(p, q):
    return sum(rel_entr(p, q))


def reverse(p, q, entropy=True):
    return kl(p, q) if entropy else -sum(p * np.log(q))


def symmetric(p, q, reverse_weight=0.5):
    return (1 - reverse_weight) * kl(q, p) + reverse_weight * kl(p, q)


def skewed(p, q, skew=0.1, direction="forward", eps=0.0):
    first, second = (q, p) if direction == "forward" else (p, q)
    return kl(first, skew * first + (1 - skew) * second + eps)


def jsd(p, q, beta=0.5):
    if beta in (0, 1):
        return kl(q, p) if beta == 0 else kl(p, q)
    m = beta * q + (1 - beta) * p
    return beta * kl(q, m) + (1 - beta) * kl(p, m)


def topk(p, q, k=64, tail="bucket", eps=1e-6, stored_temperature=1.0):
    best = np.argsort(-q)[:k]
    if tail == "zero":
        return kl(q[best] / q[best].sum(), p[best])
    rest_q, rest_p = 1 - q[best].sum(), 1 - p[best].sum()
    return kl(q[best], p[best]) + (rest_q * np.log(rest_q / rest_p) if rest_q > 1e-5 else 0.0)


def dkd(s, t, mask, labels, alpha=1.0, beta=8.0, temperature=4.0, standardise=False):
    if standardise:
        s, t = ((x - x.mean(-1, keepdims=True)) / (x.std(-1, ddof=1, keepdims=True) + 1e-7) for x in (s, t))
    found = []
    for i in valid_rows(s.shape[:-1], mask):
        if labels[i] == -100:
            continue
        p, q = probabilities(s, t, i, temperature)
        y, others = labels[i], [c for c in range(s.shape[-1]) if c != labels[i]]
        of_label = kl(np.array([q[y], 1 - q[y]]), np.array([p[y], 1 - p[y]]))
        found.append(alpha * of_label + beta * kl(q[others] / q[others].sum(), p[others] / p[others].sum()))
    return temperature**2 * np.mean(found)


def stacked(s, t, mask, temperature):
    pairs = [probabilities(s, t, i, temperature) for i in valid_rows(s.shape[:-1], mask)]
    return np.array([p for p, _ in pairs]), np.array([q for _, q in pairs])


def dist(s, t, mask, beta=1.0, gamma=1.0, temperature=1.0, eps=1e-8, eps_is="added"):
    def correlation(a, b):
        a, b = a - a.mean(), b - b.mean()
        lengths = np.sqrt(a @ a), np.sqrt(b @ b)
        return a @ b / (lengths[0] * lengths[1] + eps if eps_is == "added" else np.maximum(lengths, eps).prod())

    p, q = stacked(s, t, mask, temperature)
    rows = np.mean([1 - correlation(a, b) for a, b in zip(p, q, strict=True)])
    classes = np.mean([1 - correlation(a, b) for a, b in zip(p.T, q.T, strict=True)])
    return temperature**2 * (beta * rows + gamma * classes)


def class_correlation(s, t, mask, temperature=4.0):
    p, q = stacked(s, t, mask, temperature)
    return np.sum((p.T @ p - q.T @ q) ** 2) / p.shape[1]


def batch_correlation(s, t, mask, temperature=4.0):
    p, q = stacked(s, t, mask, temperature)
    return np.sum((p @ p.T - q @ q.T) ** 2) / len(p)


def uld(s, t, mask, temperature=1.0, teacher_temperature=None, k=None):
    by_sample: dict[int, list[float]] = {}
    for i in valid_rows(s.shape[:-1], mask):
        p = sorted(softmax(s[i] / temperature), reverse=True)[:k]
        q = sorted(softmax(t[i] / (teacher_temperature or temperature)), reverse=True)[:k]
        size = max(len(p), len(q))
        distance = sum(abs(np.pad(p, (0, size - len(p))) - np.pad(q, (0, size - len(q)))))
        by_sample.setdefault(i[0], []).append(distance)
    return np.mean([np.mean(v) for v in by_sample.values()])


def other_vocabulary(rng):
    cases = vectors(rng)
    return cases + [Case(c.student, rng.normal(size=(*c.student.shape[:-1], 8)), c.mask) for c in cases]


SOFTENED = [
    {},
    {"temperature": 4.0},
    {"temperature": 0.5, "scale_by_t2": False},
    {"temperature": 2.0, "reduction": "sequence_mean"},
]
REFERENCES = {
    "reverse_kl": Row(divergence(reverse), vectors, [*SOFTENED, *CHUNKED, {"entropy": False}]),
    "symmetric_kl": Row(divergence(symmetric), vectors, [*SOFTENED, *CHUNKED, {"reverse_weight": 0.9}]),
    "skewed_kl": Row(
        divergence(skewed),
        vectors,
        [*SOFTENED, *CHUNKED, {"skew": 0.3, "direction": "reverse"}, {"eps": 1e-2}, {"skew": 0.0}],
    ),
    "jsd": Row(divergence(jsd), vectors, [*SOFTENED, *CHUNKED, {"beta": 0.9}, {"beta": 0.0}, {"beta": 1.0}]),
    "total_variation": Row(divergence(lambda p, q: sum(abs(p - q)) / 2), vectors, [*SOFTENED, *CHUNKED]),
    "topk_kl": Row(
        divergence(topk),
        vectors,
        [*({**options, "k": 2} for options in SOFTENED), {"k": 3, "tail": "zero"}, {}],
    ),
    "dkd": Row(dkd, vectors, [{}, {"alpha": 2.0, "beta": 0.5, "temperature": 1.0}, {"standardise": True}]),
    "dist": Row(
        dist,
        vectors,
        [{}, {"beta": 2.0, "gamma": 0.5, "temperature": 3.0}, {"eps": 0.3, "eps_is": "floor"}, {"eps": 0.1}],
    ),
    "class_correlation": Row(class_correlation, vectors, [{}, {"temperature": 1.0}]),
    "batch_correlation": Row(batch_correlation, vectors, [{}, {"temperature": 1.0}]),
    "uld": Row(uld, other_vocabulary, [{}, {"temperature": 2.0}, {"teacher_temperature": 3.0}, {"k": 2}]),
}
