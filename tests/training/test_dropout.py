"""Dropout of a stage: set while it trains, put back afterwards, the same for every architecture."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    TrOCRConfig,
    TrOCRForCausalLM,
    ViTConfig,
    ViTModel,
)  # fmt: skip

from textkd.errors import TextkdError
from textkd.training.dropout import dropout

SMALL = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}
TEXT = {"input_ids": torch.arange(3, 11).reshape(2, 4)}


def bert() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    return BertForSequenceClassification(BertConfig(**SMALL, vocab_size=20)), TEXT


def modernbert() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    rates = {"attention_dropout": 0.3, "mlp_dropout": 0.3, "embedding_dropout": 0.3, "classifier_dropout": 0.3}
    return ModernBertForSequenceClassification(ModernBertConfig(**SMALL, vocab_size=20, pad_token_id=0, **rates)), TEXT


def vit() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    config = ViTConfig(**SMALL, image_size=8, patch_size=4, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    return ViTModel(config), {"pixel_values": torch.randn(2, 3, 8, 8)}


def trocr() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    config = TrOCRConfig(
        d_model=16, decoder_attention_heads=2, decoder_layers=2, decoder_ffn_dim=32, vocab_size=20, dropout=0.3,
        attention_dropout=0.3, activation_dropout=0.3, is_decoder=False,
    )  # fmt: skip
    return TrOCRForCausalLM(config), TEXT


def varies(model: nn.Module, batch: dict[str, torch.Tensor]) -> bool:
    with torch.no_grad():
        first, second = (model(**batch)[0] for _ in range(2))
    return not torch.equal(first, second)


@pytest.mark.parametrize("make", [bert, modernbert, vit, trocr])
def test_no_dropout_inside_and_the_models_own_outside(make):
    model, batch = make()
    model.train()
    assert varies(model, batch), "the model has no dropout that could be switched off"
    with dropout(model, 0.0):
        assert model.training
        assert not varies(model, batch)
    assert varies(model, batch)


def test_none_changes_nothing():
    model, _ = bert()
    with dropout(model, None):
        assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.1}


def test_rates_come_back_after_an_error():
    model, _ = bert()
    seen: list[set[float]] = []

    def fails() -> None:
        with dropout(model, 0.5):
            seen.append({m.p for m in model.modules() if isinstance(m, nn.Dropout)})
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fails()
    assert seen == [{0.5}]
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.1}


def test_a_model_without_dropout_refuses_a_rate():
    with pytest.raises(TextkdError, match="built without dropout"), dropout(nn.Linear(2, 2), 0.1):
        pass
