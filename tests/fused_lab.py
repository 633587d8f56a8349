"""Tiny models with heads over a vocabulary, and a step of their training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from ocr_lab import data, make_reader
from torch import Tensor, nn

from textkd import Match
from textkd.training.wiring import Wiring

SMALL = {
    "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24, "vocab_size": 50,
    "pad_token_id": 0,
}  # fmt: skip
IDS = torch.arange(5, 29).view(4, 6)
LABELS = IDS.index_fill(1, torch.tensor([0, 2]), -100)
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": LABELS}
SMALL_BERT = hf.DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**SMALL)),
    "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**SMALL, max_position_embeddings=40)),
    "distilbert": lambda: hf.DistilBertForMaskedLM(SMALL_BERT),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL)),  # no plan of taps
    "reader": make_reader,
}


def made(name: str, seed: int = 0) -> Any:
    if name == "reader":
        return make_reader(seed=seed)
    torch.manual_seed(seed)
    return MODELS[name]().eval()


def batch_for(name: str) -> dict[str, Tensor]:
    return data().sample() if name == "reader" else BATCH


def both(fused: bool) -> list[Match]:
    return [Match("logits", temperature=2.0, fused=fused), Match("labels", weight=0.5, fused=fused)]


def step(wiring: Wiring, student: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor], dict[str, Any]]:
    """One step as the trainer does it: (loss, gradients, the student's outputs)."""
    student.zero_grad()
    total, _, outputs = wiring.loss(student, batch)
    total.backward()
    gradients = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    return total.detach(), gradients, dict(outputs)
