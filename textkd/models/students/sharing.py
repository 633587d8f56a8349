"""Whether teacher and student have one and the same encoder, so that a frozen one need run only once for both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from textkd.models.students.copying import is_two_sided
from textkd.models.students.fields import NOT_FIELDS

# The decoder reads the last hidden states: these have no part in them.
UNREAD = ("pooler.", "embeddings.mask_token")
UNREAD_FIELDS = (*NOT_FIELDS, "dtype", "pooler_output_size", "pooler_act", "encoder_stride", "id2label")


def shares_encoder(student: PreTrainedModel, teacher: PreTrainedModel) -> bool:
    """Whether the encoders of two `VisionEncoderDecoderModel` are of one architecture and equal in every element.

    The pooler does not count: no decoder reads it, and `microsoft/trocr-*` have none. dtypes must be equal too, devices
    need not. Models without two sides share nothing.

    Args:
        student: one model.
        teacher: the other.

    Returns:
        True where a frozen encoder need run only once for both.

    Example:
        >>> from textkd import new_ocr_model, shrink
        >>> ids = {"vocab_size": 20, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
        >>> teacher = new_ocr_model(sizes, {"d_model": 16, "decoder_layers": 2}, ids)
        >>> shares_encoder(shrink(teacher, decoder_layers=[2]), teacher)
        True
    """
    if not (is_two_sided(student) and is_two_sided(teacher)):
        return False
    mine, theirs = student.encoder, teacher.encoder
    if type(mine) is not type(theirs) or _fields(mine.config) != _fields(theirs.config):
        return False
    own, other = _weights(mine), _weights(theirs)
    return own.keys() == other.keys() and all(_equal(own[name], other[name]) for name in own)


def _fields(config: Any) -> dict[str, Any]:
    fields = {k: v for k, v in config.to_dict().items() if k not in UNREAD_FIELDS}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def _weights(encoder: Any) -> dict[str, Tensor]:
    return {name: w for name, w in encoder.state_dict().items() if not name.startswith(UNREAD)}


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other.to(one.device))
