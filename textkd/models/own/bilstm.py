"""A bidirectional LSTM over word pieces: what Tang et al. 2019 (arXiv:1903.12136) distil BERT into."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from textkd.models.own.classes import OwnClasses
from textkd.models.own.door import Own
from textkd.models.own.heads import RANGE, OfTexts, OfTokens, attended, moved, moved_back, to_front


class BilstmConfig(PreTrainedConfig):  # type: ignore[misc]
    """Of a BiLSTM.

    Args:
        vocab_size: word pieces.
        embedding_size: of each.
        direction_size: units of the LSTM in each direction; hidden_size is twice that.
        num_hidden_layers: LSTMs on top of each other.
        dense_size: of the layer before the logits.
        hidden_dropout_prob: between LSTMs, and before the logits.
        pad_token_id: what rows are filled up with; it is read nowhere.
        kwargs: of every config.
    """

    model_type = "textkd_bilstm"

    def __init__(
        self, vocab_size: int = 30522, embedding_size: int = 300, direction_size: int = 150, num_hidden_layers: int = 1,
        dense_size: int = 200, hidden_dropout_prob: float = 0.1, pad_token_id: int | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        kwargs = {name: value for name, value in kwargs.items() if name not in ("hidden_size", "textkd")}
        self.vocab_size, self.embedding_size, self.direction_size = vocab_size, embedding_size, direction_size
        self.num_hidden_layers, self.dense_size = num_hidden_layers, dense_size
        self.hidden_dropout_prob, self.hidden_size = hidden_dropout_prob, 2 * direction_size
        self.initializer_range, self.pad_token_id = RANGE, pad_token_id
        super().__init__(**kwargs)
        self.textkd = {"kind": "bilstm"}


class BilstmLayer(nn.Module):
    """One LSTM in each direction. Padding, wherever it stands, comes last for both, so that it changes nothing.

    Args:
        width: of what comes in.
        units: in each direction.
    """

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, units, batch_first=True)
        self.backwards = nn.LSTM(width, units, batch_first=True)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """[B, T, width] and which of them are read, [B, T], to [B, T, 2 units]; zeros where nothing is read."""
        sides = []
        for lstm, places in zip((self.forwards, self.backwards), to_front(mask), strict=True):
            hidden, _ = lstm(moved(values, places))
            sides.append(moved_back(hidden, places))
        return torch.cat(sides, -1) * mask[..., None].to(sides[0].dtype)


class BilstmPreTrainedModel(Own, PreTrainedModel):  # type: ignore[misc]
    """What all BiLSTMs have in common."""

    config_class = BilstmConfig
    base_model_prefix = "bilstm"
    main_input_name = "input_ids"


class BilstmModel(BilstmPreTrainedModel):
    """Embeddings and LSTMs.

    Args:
        config: its sizes.

    Example:
        >>> model = BilstmModel(BilstmConfig(vocab_size=20, embedding_size=8, direction_size=4)).eval()
        >>> model(torch.tensor([[1, 2, 3]])).last_hidden_state.shape
        torch.Size([1, 3, 8])
    """

    _input_embed_layer = "embeddings"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        widths = [config.embedding_size, *[config.hidden_size] * (config.num_hidden_layers - 1)]
        self.layers = nn.ModuleList(BilstmLayer(width, config.direction_size) for width in widths)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.pooler = nn.Identity()  # here `pooled` is read
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutputWithPooling:
        """The hidden states [B, T, H] of the last layer, and of these [B, H] what stands at the ends of a text:
        forwards at its last token and backwards at its first."""
        mask = attended(input_ids, attention_mask)
        hidden = self.embeddings(input_ids)
        for number, layer in enumerate(self.layers):
            hidden = layer(self.dropout(hidden) if number else hidden, mask)
        last = mask.sum(1, keepdim=True) - 1  # the place of what each direction reads last
        halves = zip(hidden.chunk(2, -1), to_front(mask), strict=True)
        ends = [(half * (places == last)[..., None].to(half.dtype)).sum(1) for half, places in halves]
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=self.pooler(torch.cat(ends, -1)))


class BilstmForSequenceClassification(OfTexts, BilstmPreTrainedModel):
    """A BiLSTM that says what a text is."""

    body = BilstmModel


class BilstmForTokenClassification(OfTokens, BilstmPreTrainedModel):
    """A BiLSTM that says what each token is."""

    body = BilstmModel


KIND = OwnClasses(BilstmConfig, {
    "AutoModel": BilstmModel,
    "AutoModelForSequenceClassification": BilstmForSequenceClassification,
    "AutoModelForTokenClassification": BilstmForTokenClassification,
})  # fmt: skip
