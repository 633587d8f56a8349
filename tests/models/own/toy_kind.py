"""A kind of models that textkd alone loads: the mean of word embeddings, and a head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from textkd.models.own.classes import OwnClasses
from textkd.models.own.door import Own


class ToyConfig(PreTrainedConfig):
    model_type = "toy"

    def __init__(self, vocab_size: int = 20, hidden_size: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.textkd = {"kind": "toy"}


class ToyForSequenceClassification(Own, PreTrainedModel):
    config_class = ToyConfig
    base_model_prefix = "toy"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.toy = nn.Embedding(config.vocab_size, config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Any:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mean = (self.toy(input_ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return SequenceClassifierOutput(logits=self.classifier(mean))


KIND = OwnClasses(ToyConfig, {"AutoModelForSequenceClassification": ToyForSequenceClassification})
