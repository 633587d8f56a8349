"""Whether a model can be loaded again once it is saved: its config must make the weights that it has."""

from __future__ import annotations

import json
import re
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from textkd.errors import said
from textkd.models.own.door import Own

UNREAD = "encoder.pooler."  # of an encoder beside a decoder


def lost_when_saved(model: Any) -> str:
    """Why `from_pretrained` could not read a model that `save_pretrained` writes.

    Args:
        model: one of transformers; of classes of somebody's own, and of quantised models, nothing is known.

    Returns:
        A sentence; "" where nothing is known against it. Nothing is computed and nothing written: the config alone
        makes a model without values, whose names and shapes are compared.

    Example:
        >>> from torch import nn
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = BertForSequenceClassification(BertConfig(num_hidden_layers=1, **sizes))
        >>> lost_when_saved(model)
        ''
        >>> model.classifier = nn.Linear(8, 5)
        >>> lost_when_saved(model)
        'its weight classifier.weight is [5, 8]; its config makes it [2, 8]'
    """
    known = isinstance(model, Own) or type(model).__module__.startswith("transformers.")
    if not isinstance(model, PreTrainedModel) or not known or getattr(model, "hf_quantizer", None) is not None:
        return ""
    try:
        config = type(model.config).from_dict(json.loads(model.config.to_json_string()))
        with torch.random.fork_rng(devices=[]), torch.device("meta"), no_init_weights():
            twin = type(model)(config)
    except Exception as error:  # whatever a class says to a config
        return f"its config does not make a model again: {said(error)}"
    here, again = ({name: list(one.shape) for name, one in each.state_dict().items()} for each in (model, twin))
    skipped = [*(model._keys_to_ignore_on_load_missing or ()), *(model._keys_to_ignore_on_load_unexpected or ())]
    for name in dict.fromkeys([*here, *again]):
        if here.get(name) == again.get(name) or any(re.search(one, name) for one in skipped):
            continue
        if name not in again:
            return f"its config makes no weight {name}"
        if name not in here:
            if name.startswith(UNREAD) and getattr(model, "decoder", None) is not None and model.encoder.pooler is None:
                continue  # as `load_model` leaves it out
            return f"its config makes a weight {name}, which it has not"
        return f"its weight {name} is {here[name]}; its config makes it {again[name]}"
    return ""
