"""Deep mutual learning in plain torch (Zhang et al. 2018, arXiv:1706.00384).

K networks learn from labels and from each other: L_i = CE_i + 1 / (K - 1) * sum over j of KL(p_j || p_i), T = 1, where
p_j is a constant to network i. Each network has an optimizer of its own and is clipped by its own norm.
- "together": all networks answer once, then all of them step (as the public code does).
- "in_turn": network 1 steps; then all answer anew, and network 2 steps; and so on (the paper's algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Batch = Mapping[str, Tensor]


def loss_of(own: int, answers: Sequence[Tensor], labels: Tensor) -> Tensor:
    """L_i of network `own`."""
    log_p = answers[own].log_softmax(-1)
    peers = [answer.detach().softmax(-1) for number, answer in enumerate(answers) if number != own]
    divergences = [(q * (q.log() - log_p)).sum(-1).mean() for q in peers]
    return F.cross_entropy(answers[own], labels) + sum(divergences) / len(peers)


def train(
    networks: Sequence[nn.Module], batches: Sequence[Batch], update: str, learning_rate: float, epsilon: float,
    clip: float,
) -> list[list[float]]:  # fmt: skip
    """L_i of every network in each step; the networks are trained in place."""
    settings = {"lr": learning_rate, "eps": epsilon, "weight_decay": 0.0}
    optimizers = [torch.optim.AdamW(net.parameters(), **settings) for net in networks]
    told = []
    for net in networks:
        net.train()

    def step(number: int, loss: Tensor) -> None:
        optimizers[number].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(networks[number].parameters(), clip)
        optimizers[number].step()

    for batch in batches:
        inputs = {name: column for name, column in batch.items() if name != "labels"}
        if update == "together":
            answers = [net(**inputs).logits for net in networks]
            losses = [loss_of(number, answers, batch["labels"]) for number in range(len(networks))]
            for number, loss in enumerate(losses):
                step(number, loss)
        else:
            losses = []
            for number in range(len(networks)):
                answers = [net(**inputs).logits for net in networks]
                losses.append(loss_of(number, answers, batch["labels"]))
                step(number, losses[-1])
        told.append([loss.item() for loss in losses])
    return told
