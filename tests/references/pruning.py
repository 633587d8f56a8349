"""Iterative structured pruning of a BERT classifier, with distillation as recovery, in plain torch.

From the description: importance by magnitude is the squared weights (with the bias) that lead into a unit, times those
that lead out of it. Of a head: the sum over its value dimensions. Of a dimension of the stream: what all blocks' output
layers write, times what all query, key, value and first feed-forward layers read. Every block keeps as many heads and
units, each its own; the stream keeps the same dimensions everywhere, as many as the heads are wide together.

The schedule is that of Zhu & Gupta (2017): s_t = s_f + (s_i - s_f)(1 - t/n)^3 of the weights are gone after pruning t.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Batch = Mapping[str, Tensor]


def units(whole: int, target: float, each: float, own: int, rounds: int) -> list[int]:
    """Feed-forward units of each block after every pruning. whole: weights of the model; target: the most that are
    left; each: weights that go with one unit of all blocks; own: units before. Units are multiples of 8."""
    left = lambda most: int((own - (whole - most) / each) // 8 * 8)  # noqa: E731
    last = left(target)
    final = whole - (own - last) * each
    gone = [1 - final / whole + (0 - (1 - final / whole)) * (1 - t / rounds) ** 3 for t in range(1, rounds + 1)]
    return [left(whole * (1 - share) + 1e-6 * whole) for share in gone]


def best(scores: Tensor, count: int) -> Tensor:
    return scores.sort(descending=True, stable=True).indices[:count].sort().values


def into(layer: nn.Linear) -> Tensor:
    return layer.weight.double().pow(2).sum(1) + layer.bias.double().pow(2)


def out_of(layer: nn.Linear) -> Tensor:
    return layer.weight.double().pow(2).sum(0)


@torch.no_grad()
def prune(model: Any, heads: int, ffn: int) -> tuple[Any, list[dict[str, list[int]]]]:
    """A narrower model, and what each block has kept."""
    blocks, config = model.bert.encoder.layer, copy.deepcopy(model.config)
    width = config.hidden_size // config.num_attention_heads
    writes = sum(into(layer) for block in blocks for layer in (block.attention.output.dense, block.output.dense))
    reads = sum(
        out_of(layer)
        for block in blocks
        for layer in (block.attention.self.query, block.attention.self.key, block.attention.self.value,
                      block.intermediate.dense)
    )  # fmt: skip
    stream = best(writes * reads, heads * width)
    config.hidden_size, config.num_attention_heads, config.intermediate_size = heads * width, heads, ffn
    made = type(model)(config)
    kept, cut = list[dict[str, list[int]]](), dict[str, Tensor]()
    for number, block in enumerate(blocks):
        value = into(block.attention.self.value) * out_of(block.attention.output.dense)
        chosen = best(value.view(-1, width).sum(1), heads)
        rows = torch.cat([torch.arange(head * width, (head + 1) * width) for head in chosen.tolist()])
        some = best(into(block.intermediate.dense) * out_of(block.output.dense), ffn)
        kept.append({"heads": chosen.tolist(), "ffn": some.tolist()})
        place = f"bert.encoder.layer.{number}."
        for name in ("query", "key", "value"):
            cut[f"{place}attention.self.{name}.weight"] = cut[f"{place}attention.self.{name}.bias"] = rows
        cut[f"{place}intermediate.dense.weight"] = cut[f"{place}intermediate.dense.bias"] = some
        cut[f"{place}attention.output.dense.weight, in"] = rows
        cut[f"{place}output.dense.weight, in"] = some
    theirs = model.state_dict()
    for name, weight in made.state_dict().items():
        old = theirs[name]
        if name == "classifier.bias" or name.endswith(("position_ids", "token_type_ids")):
            first = slice(None)
        elif name == "classifier.weight" or "_embeddings.weight" in name:
            first = slice(None)
            old = old[:, stream]
        else:
            first = cut.get(name, stream)
            if old.dim() == 2:
                old = old[:, cut.get(f"{name}, in", stream)]
        weight.copy_(old[first])
    return made, kept


def distil(
    student: Any, teacher: Any, batches: Sequence[Batch], temperature: float, label_weight: float, rate: float,
    epsilon: float, clip: float,
) -> list[float]:  # fmt: skip
    """The loss of each step; the student is trained in place. Without a teacher the labels alone teach."""
    optimizer, told = torch.optim.AdamW(student.parameters(), lr=rate, eps=epsilon, weight_decay=0.0), []
    student.train()
    for batch in batches:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        logits = student(**inputs).logits
        loss = F.cross_entropy(logits, batch["labels"])
        if teacher is not None:
            with torch.no_grad():
                soft = (teacher(**inputs).logits / temperature).softmax(-1)
            loss = label_weight * loss + (1 - label_weight) * temperature**2 * F.kl_div(
                (logits / temperature).log_softmax(-1), soft, reduction="batchmean"
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), clip)
        optimizer.step()
        told.append(loss.item())
    return told
