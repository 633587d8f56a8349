"""BERT to BiLSTM in plain torch (Tang et al. 2019, arXiv:1903.12136), with torch's own packed bidirectional LSTM.

The last states of both directions go through a dense layer with a ReLU and a linear layer; the loss is
alpha * cross entropy + (1 - alpha) * the mean squared error of the logits, without a temperature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence


class Bilstm(nn.Module):
    """For classes: embeddings [V, E], units in each direction, a dense layer, C classes."""

    def __init__(self, words: Tensor, units: int, dense: int, classes: int, layers: int = 1) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(words.clone(), freeze=False)
        self.lstm = nn.LSTM(words.shape[1], units, layers, batch_first=True, bidirectional=True)
        self.dense, self.out = nn.Linear(2 * units, dense), nn.Linear(dense, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        lengths = attention_mask.sum(1)
        packed = pack_padded_sequence(self.words(input_ids), lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return self.out(self.dense(torch.cat([last[-2], last[-1]], -1)).relu())


def train(
    student: Bilstm, teacher: nn.Module, batches: Sequence[Mapping[str, Tensor]], alpha: float, rate: float,
    epsilon: float, clip: float,
) -> list[float]:  # fmt: skip
    """The loss of each step; the student is trained in place."""
    optimizer = torch.optim.AdamW(student.parameters(), lr=rate, eps=epsilon, weight_decay=0.0)
    told = []
    for batch in batches:
        rows = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            target = teacher(**rows).logits
        logits = student(**rows)
        loss = alpha * F.cross_entropy(logits, batch["labels"]) + (1 - alpha) * F.mse_loss(logits, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), clip)
        optimizer.step()
        told.append(loss.item())
    return told
