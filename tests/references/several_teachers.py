"""Distillation from several teachers in plain torch (Hinton et al. 2015; TextBrewer's multi-teacher distiller; CA-MKD).

The student learns from labels and from the teachers' softened answers, of which a target is made:
- "mean_probabilities": the mean of the teachers' softmaxes at T.
- "mean_logits": the mean of their logits, softened afterwards.
- "gate": for each row the teachers' divergences are weighted by (1 - softmax over teachers of their cross-entropies
  with the label) / (K - 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Batch = Mapping[str, Tensor]


def divergence(target: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """T^2 KL(target || softmax(logits / T)), row by row."""
    log_p = F.log_softmax(logits / temperature, dim=-1)
    return temperature**2 * (torch.xlogy(target, target) - target * log_p).sum(-1)


def soft_loss(kind: str, student: Tensor, teachers: Sequence[Tensor], labels: Tensor, temperature: float) -> Tensor:
    if kind == "mean_logits":
        return divergence((torch.stack(list(teachers)).mean(0) / temperature).softmax(-1), student, temperature).mean()
    soft = [(logits / temperature).softmax(-1) for logits in teachers]
    if kind == "mean_probabilities":
        return divergence(torch.stack(soft).mean(0), student, temperature).mean()
    surprise = torch.stack([F.cross_entropy(logits, labels, reduction="none") for logits in teachers])
    weights = (1 - surprise.softmax(0)) / (len(teachers) - 1)
    each = torch.stack([divergence(target, student, temperature) for target in soft])
    return (weights * each).sum(0).mean()


def train(
    student: nn.Module, teachers: Sequence[nn.Module], batches: Sequence[Batch], kind: str, temperature: float,
    label_weight: float, learning_rate: float, epsilon: float, clip: float,
) -> list[float]:  # fmt: skip
    """The soft loss of each step; the student is trained in place."""
    optimizer, told = torch.optim.AdamW(student.parameters(), lr=learning_rate, eps=epsilon, weight_decay=0.0), []
    student.train()
    for batch in batches:
        inputs = {name: column for name, column in batch.items() if name != "labels"}
        with torch.no_grad():
            answers = [teacher(**inputs).logits for teacher in teachers]
        logits = student(**inputs).logits
        soft = soft_loss(kind, logits, answers, batch["labels"], temperature)
        optimizer.zero_grad()
        (label_weight * F.cross_entropy(logits, batch["labels"]) + soft).backward()
        nn.utils.clip_grad_norm_(student.parameters(), clip)
        optimizer.step()
        told.append(soft.item())
    return told
