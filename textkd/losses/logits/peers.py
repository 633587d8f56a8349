"""Networks that learn from each other: peers trained together, a teacher trained with its student, a light network
beside a booster. Logits [B,C] (mask [B] or None) or [B,T,V] (mask [B,T]); labels [B] or [B,T], -100: none.

Stale or detached peers need nothing of their own: codistillation is `soft_cross_entropy` (or `reverse_kl`) to a copy of
the peer, mutual learning is `kl` to the peer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from textkd.losses.logits.softened import PER_ROW, Reduction, kl_rows, log_probabilities, reduce_rows, scaled
from textkd.losses.logits.targets import cross_entropy_rows
from textkd.losses.masking import aligned, masked_mean
from textkd.losses.options import NonNegative, Positive
from textkd.losses.registry import register


@register(
    "peer_kl",
    family="logits",
    source="DML, Zhang et al. 2018, arXiv:1706.00384 (guard ratio); ONE, Lan et al. 2018, arXiv:1806.04606, and FFL, "
    "Kim et al. 2019, arXiv:1904.09058 (guard target, temperature 3)",
    formula="T^2 / N * sum over rows of KL(p_peer || p_s), with eps against log 0",
    min_classes=2,
    per_row_if=PER_ROW,
    reads="shares",
    to_target="trains",
    stops_with={"detach": True},
    gradient_options=("detach",),
)
def peer_kl(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: Positive = 1.0,
    scale_by_t2: bool = True,
    guard: Literal["ratio", "target"] | None = None,
    eps: Positive = 1e-8,
    detach: bool = True,
    reduction: Reduction = "batchmean",
) -> Tensor:
    """KL divergence from a peer, or from the ensemble of all branches, as the codes of online distillation have it.

    guard: where eps goes. null: nowhere, the same as `kl`. "ratio": p log(eps + p / (p_s + eps)) (DML: 1e-8).
    "target": p + eps in place of p, not made to sum to 1 again (ONE and FFL: 1e-7). detach: off, the gradient also
    reaches the peer (as the graph of DML's code, whose optimisers then leave it out). temperature, scale_by_t2,
    reduction: as in `kl`. Mutual learning of K networks: the mean over the K - 1 peers (DML's code: the sum). Scalar.
    """
    peer = teacher.detach() if detach else teacher
    log_s, log_p = log_probabilities(student, peer, mask, temperature)
    if guard is None:
        rows = kl_rows(log_p, log_s)
    elif guard == "ratio":
        p = log_p.exp()
        rows = (p * torch.log(eps + p / (log_s.exp() + eps))).sum(-1)
    else:
        p = log_p.exp() + eps
        rows = (p * (p.log() - log_s)).sum(-1)
    return reduce_rows(scaled(rows, temperature, scale_by_t2), mask, reduction, student.shape[-1])


@register(
    "apprentice",
    family="logits",
    source="Apprentice, Mishra & Marr 2018, arXiv:1711.05852 (no public code)",
    formula="alpha * H(y, p_t) + beta * H(y, p_s) + gamma * H(p_t, p_s)",
    needs=("labels",),
    min_classes=2,
    reads="softmax",
    to_target="trains",
    stops_with={"detach": True, "alpha": 0.0},
    gradient_options=("detach",),
)
def apprentice(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    labels: Tensor,
    alpha: NonNegative = 1.0,
    beta: NonNegative = 0.5,
    gamma: NonNegative = 0.5,
    temperature: Positive = 1.0,
    detach: bool = True,
) -> Tensor:
    """A teacher and its low-precision student trained together, in one loss (the paper's scheme A).

    alpha: the teacher's own labels; 0 for a fixed teacher (schemes B and C), to which they are a constant. beta: the
    student's labels. gamma: the student against the teacher's distribution, softened by temperature on both sides
    without T^2 (the paper: 1). detach: off, the gradient of that term reaches the teacher too. Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    own, known = cross_entropy_rows(student, labels, mask)
    its, _ = cross_entropy_rows(teacher, labels, mask)
    target = F.softmax((teacher.detach() if detach else teacher) / temperature, dim=-1)
    soft = -(target * F.log_softmax(student / temperature, dim=-1)).sum(-1)
    return masked_mean(alpha * its + beta * own, known) + gamma * masked_mean(soft, mask)


@register(
    "rocket",
    family="logits",
    source="Rocket launching, Zhou et al. 2018, arXiv:1708.04106; code: zhougr1993/Rocket-Launching",
    formula="H(y, p_booster) + H(y, p_s) + gamma / N * sum over rows of ||z_s - z_booster||^2",
    needs=("labels",),
    min_classes=2,
    to_target="trains",
    gradient_options=("block",),
)
def rocket(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    labels: Tensor,
    gamma: NonNegative = 0.03,
    block: bool = True,
) -> Tensor:
    """A light network and its booster, which share their lower layers, trained together; the hint is on logits.

    gamma: weight of the hint. block: the hint's gradient stops before the booster, which learns the labels in either
    case; off, the hint reaches it too. The distribution may be added: `kl` with reduction mean, as the code has it.
    Scalar.
    """
    student, teacher = aligned(student, teacher, mask)
    own, known = cross_entropy_rows(student, labels, mask)
    its, _ = cross_entropy_rows(teacher, labels, mask)
    hint = (student - (teacher.detach() if block else teacher)).square().sum(-1)
    return masked_mean(own + its, known) + gamma * masked_mean(hint, mask)
