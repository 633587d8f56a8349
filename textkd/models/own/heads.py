"""What is on top of small models of textkd's own: a dense layer with a ReLU, and the logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

RANGE = 0.1  # standard deviation of new linear layers and embeddings


class Head(nn.Module):
    """A dense layer with a ReLU, dropout, and a linear layer (Tang et al. 2019, arXiv:1903.12136).

    Args:
        width: of what comes in.
        config: with dense_size, hidden_dropout_prob and num_labels.
    """

    def __init__(self, width: int, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.dense_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.out = nn.Linear(config.dense_size, config.num_labels)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., width] to logits [..., num_labels]."""
        logits: Tensor = self.out(self.dropout(self.dense(hidden).relu()))
        return logits


class Topped:
    """A head on a body, which stands under the `base_model_prefix` of the model that this is mixed into."""

    body: Any  # the class of the body

    def __init__(self: Any, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        setattr(self, self.base_model_prefix, self.body(config))
        self.head = Head(config.hidden_size, config)
        self.post_init()


class OfTexts(Topped):
    """It says what a text is."""

    def forward(
        self: Any, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Logits [B, C], and the loss where labels are given. A pair is one row, with the tokenizer's separator."""
        logits = self.head(self.base_model(input_ids, attention_mask).pooler_output)
        loss = None if labels is None else self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class OfTokens(Topped):
    """It says what each token is."""

    def forward(
        self: Any, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **_: Any
    ) -> TokenClassifierOutput:
        """Logits [B, T, C], and the loss where labels are given."""
        logits = self.head(self.base_model(input_ids, attention_mask).last_hidden_state)
        loss = None if labels is None else self.loss_function(logits, labels, self.config)
        return TokenClassifierOutput(loss=loss, logits=logits)


def attended(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """[B, T] bool: which tokens are read; all, where nobody says.

    Args:
        input_ids: [B, T].
        attention_mask: [B, T], 1 where a token is no padding.
    """
    if attention_mask is None:
        return input_ids >= 0
    return attention_mask.bool()


def to_front(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Where each token goes if those that are read come first, in their order or from the last to the first.

    Args:
        mask: [B, T] bool.

    Returns:
        Two tensors [B, T]: the places forwards, and backwards. Padding comes last in both.

    Example:
        >>> import torch
        >>> [places.tolist() for places in to_front(torch.tensor([[False, True, True, True]]))]
        [[[3, 0, 1, 2]], [[3, 2, 1, 0]]]
    """
    read = mask.long()
    count, number = read.sum(1, keepdim=True), read.cumsum(1) - 1
    behind = count + (1 - read).cumsum(1) - 1
    return number.where(mask, behind), (count - 1 - number).where(mask, behind)


def moved(values: Tensor, places: Tensor) -> Tensor:
    """Rows of tokens put at other places.

    Args:
        values: [B, T, H].
        places: [B, T], a permutation in each row.
    """
    index = places[..., None].expand_as(values)
    return values.new_zeros(values.shape).scatter(1, index, values)


def moved_back(values: Tensor, places: Tensor) -> Tensor:
    """`moved` undone.

    Args:
        values: [B, T, H].
        places: [B, T], as they were given to it.
    """
    return values.gather(1, places[..., None].expand_as(values))
