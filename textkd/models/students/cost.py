"""What a model of given sizes costs before it is made: parameters, and multiplications of a row."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from textkd.errors import reading
from textkd.models.students.copying import OTHERWISE, is_two_sided
from textkd.models.students.parts import blocks_of

OF_TOKENS = ("ForTokenClassification", "ForMaskedLM", "ForQuestionAnswering", "ForPreTraining")


def skeleton(like: PreTrainedModel, config: Any) -> Any:
    """A model of the class of another one whose weights have shapes and no numbers.

    Args:
        like: of this class; where it has no pooler beside a decoder, neither has what is made.
        config: the sizes.
    """
    asked = f"a {type(like).__name__} of other sizes"
    with torch.random.fork_rng(devices=[]), torch.device("meta"), no_init_weights(), reading(asked, OTHERWISE):
        made: Any = type(like)(config)
    if is_two_sided(like) and getattr(like.encoder, "pooler", True) is None:
        made.encoder.pooler = None
    return made


def parameters(model: nn.Module) -> int:
    """The weights of a model, tied ones once.

    Example:
        >>> parameters(nn.Linear(2, 3))
        9
    """
    return sum(weight.numel() for weight in model.parameters())


def macs(model: Any, length: int) -> int:
    """Multiplications (each with an addition) of a model of one stack for one row.

    Counted are the linear layers, once for each token that they see (a pooler and the head of a classifier see one),
    and the products of attention, queries by keys and probabilities by values; embeddings, norms and activations are
    left out.

    Args:
        model: an encoder with any head.
        length: tokens of the row.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 4, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 20}
        >>> macs(BertModel(BertConfig(num_hidden_layers=1, **sizes)), 10)  # 10*(4*16 + 2*32) + 2*10*10*4, pooler 16
        2096
    """
    base, total = model.base_model, 0
    whole = {id(layer) for layer in base.modules()} - _of_one_token(base)
    head = length if type(model).__name__.endswith(OF_TOKENS) else 1
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            total += layer.in_features * layer.out_features * (length if id(layer) in whole else head)
    for block in blocks_of(model):
        total += sum(length * length * (one.query.out_features + one.value.out_features) for one in block.attentions)
    return total


def _of_one_token(base: Any) -> set[int]:
    """The layers of a base model that see the first token alone."""
    pooler = getattr(base, "pooler", None)
    return set() if pooler is None else {id(layer) for layer in pooler.modules()}
