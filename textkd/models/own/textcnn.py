"""Convolutions over word pieces and the largest of each over a text (Kim 2014, arXiv:1408.5882)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from textkd.models.own.classes import OwnClasses
from textkd.models.own.door import Own
from textkd.models.own.heads import RANGE, OfTexts, attended, moved, to_front


class TextCnnConfig(PreTrainedConfig):  # type: ignore[misc]
    """Of a TextCNN.

    Args:
        vocab_size: word pieces.
        embedding_size: of each.
        filters: of each width; hidden_size is filters times widths.
        widths: how many word pieces a filter sees.
        dense_size: of the layer before the logits.
        hidden_dropout_prob: before the logits.
        pad_token_id: what rows are filled up with; it is read nowhere.
        kwargs: of every config.
    """

    model_type = "textkd_textcnn"

    def __init__(
        self, vocab_size: int = 30522, embedding_size: int = 300, filters: int = 100, widths: Sequence[int] = (3, 4, 5),
        dense_size: int = 200, hidden_dropout_prob: float = 0.1, pad_token_id: int | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        kwargs = {name: value for name, value in kwargs.items() if name not in ("hidden_size", "textkd")}
        self.vocab_size, self.embedding_size, self.filters, self.widths = vocab_size, embedding_size, filters, [*widths]
        self.dense_size, self.hidden_dropout_prob, self.hidden_size = dense_size, hidden_dropout_prob, 0
        self.hidden_size = filters * len(self.widths)
        self.initializer_range, self.pad_token_id = RANGE, pad_token_id
        super().__init__(**kwargs)
        self.textkd = {"kind": "textcnn"}


class TextCnnPreTrainedModel(Own, PreTrainedModel):  # type: ignore[misc]
    """What all TextCNNs have in common."""

    config_class = TextCnnConfig
    base_model_prefix = "textcnn"
    main_input_name = "input_ids"


class TextCnnLayer(nn.Module):
    """All convolutions.

    Args:
        config: its sizes.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(config.embedding_size, config.filters, width) for width in config.widths)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """[B, T, E] and which of them are read, [B, T], to the largest value of each filter, [B, filters * widths]."""
        read = moved(words * mask[..., None].to(words.dtype), to_front(mask)[0]).transpose(1, 2)
        outside = torch.arange(mask.shape[1], device=mask.device)[None] >= mask.sum(1, keepdim=True)
        found, convs = [], cast("list[nn.Conv1d]", [*self.convs])
        for conv in convs:
            value = conv(F.pad(read, (0, conv.kernel_size[0] - 1))).relu()
            found.append(value.masked_fill(outside[:, None], 0.0).amax(2))  # a ReLU gives nothing below 0
        return torch.cat(found, -1)


class TextCnnModel(TextCnnPreTrainedModel):
    """Embeddings and convolutions.

    A window begins at each token and sees zeros behind the last one, so a text may be shorter than a window; padding,
    wherever it stands, changes nothing.

    Args:
        config: its sizes.

    Example:
        >>> model = TextCnnModel(TextCnnConfig(vocab_size=20, embedding_size=8, filters=5, widths=[2, 3])).eval()
        >>> model(torch.tensor([[1, 2, 3]])).pooler_output.shape
        torch.Size([1, 10])
    """

    _input_embed_layer = "embeddings"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.layers: Any = nn.ModuleList([TextCnnLayer(config)])
        self.pooler = nn.Identity()  # here `pooled` is read
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutputWithPooling:
        """The embeddings [B, T, E], and the largest value of each filter [B, filters * widths]."""
        words = self.embeddings(input_ids)
        found = self.pooler(self.layers[0](words, attended(input_ids, attention_mask)))
        return BaseModelOutputWithPooling(last_hidden_state=words, pooler_output=found)


class TextCnnForSequenceClassification(OfTexts, TextCnnPreTrainedModel):
    """A TextCNN that says what a text is."""

    body = TextCnnModel


KIND = OwnClasses(TextCnnConfig, {
    "AutoModel": TextCnnModel, "AutoModelForSequenceClassification": TextCnnForSequenceClassification,
})  # fmt: skip
