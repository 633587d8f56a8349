"""A student of another width, with random weights: for when no smaller pretrained model and no shrinking will do."""

from __future__ import annotations

import logging
from typing import Any

import transformers
from transformers import PreTrainedModel

from textkd.errors import fail
from textkd.models.own.door import Own
from textkd.models.students.composing import compose_from
from textkd.models.students.copying import is_two_sided
from textkd.models.students.fields import config_class_of, override
from textkd.models.students.random_init import RANDOM_INIT_WARNING

log = logging.getLogger(__name__)

# Token ids mean the same to both models only with the same vocabulary.
VOCABULARY = (
    "vocab_size",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "cls_token_id",
    "sep_token_id",
    "type_vocab_size",
)
AUTO_CLASSES = (
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoModelForQuestionAnswering",
    "AutoModelForMultipleChoice",
    "AutoModelForMaskedLM",
    "AutoModelForImageClassification",
    "AutoModel",
)


def from_config(teacher: PreTrainedModel, **overrides: Any) -> PreTrainedModel:
    """A student with random weights: the teacher's config with some fields changed.

    Args:
        teacher: gives the config, the vocabulary, the kind of head and the labels. It is not changed.
        overrides: fields of the config. hidden_size, intermediate_size, num_hidden_layers and num_attention_heads work
            for every architecture. When hidden_size changes and the feed-forward width is not given, it keeps its ratio
            to hidden_size (4 in BERT). model_type="distilbert" (or another) starts from that architecture's default
            config, with the teacher's vocabulary, kind of head and labels. For a `VisionEncoderDecoderModel` they are
            `encoder={...}` and `decoder={...}`: a side that is named starts random, the other is a copy of the
            teacher's; see `textkd.models.students.composing.compose`.

    Returns:
        A model in eval mode, float32. Its weights come from torch's global random state: seed it before. The log warns
        with `RANDOM_INIT_WARNING`.

    Raises:
        TextkdError: with every unknown field and impossible size.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> teacher = BertModel(BertConfig(num_hidden_layers=6, **sizes))
        >>> student = from_config(teacher, hidden_size=4, num_hidden_layers=2)
        >>> student.config.hidden_size, student.config.intermediate_size
        (4, 8)
    """
    if is_two_sided(teacher):
        return compose_from(teacher, overrides)
    _refuse_own(teacher)
    overrides = dict(overrides)
    model_type = overrides.pop("model_type", teacher.config.model_type)
    values, model_class = _start(teacher, model_type)
    config_class = type(teacher.config) if model_type == teacher.config.model_type else config_class_of(model_type)
    values = override(config_class, values, overrides)
    try:
        config = config_class.from_dict(values)
        student: PreTrainedModel = model_class(config)
    except Exception as error:  # transformers' configs raise their own kinds; a size can also fail inside a layer
        raise fail(f"a student config {overrides}", str(error), fix="correct the value of the field") from error
    log.warning("%s", RANDOM_INIT_WARNING)
    return student.eval()


def _refuse_own(teacher: PreTrainedModel) -> None:
    """Raises `TextkdError` for a BiLSTM or a TextCNN, of whose config transformers knows nothing."""
    if isinstance(teacher, Own) and teacher.config.model_type not in transformers.CONFIG_MAPPING:
        found = f"{type(teacher).__name__} is none of transformers' models: its config gives no sizes of one"
        fix = "recurrent: {kind: bilstm, hidden: 150} in its place, or from: FOLDER of a model of transformers"
        raise fail("a student config", found, fix=fix, where="config")


def _start(teacher: PreTrainedModel, model_type: str) -> tuple[dict[str, Any], Any]:
    """The config that the overrides change, as a dict, and the class of the student."""
    own = teacher.config.to_dict()
    if model_type == teacher.config.model_type:
        return own, type(teacher)
    values: dict[str, Any] = config_class_of(model_type)().to_dict()
    kept = [*(name for name in VOCABULARY if name in values), "id2label", "label2id", "problem_type"]
    values.update({name: own[name] for name in kept if name in own})
    return values, _same_head(teacher, config_class_of(model_type))


def _same_head(teacher: PreTrainedModel, config_class: Any) -> Any:
    for name in AUTO_CLASSES:
        mapping = getattr(transformers, name)._model_mapping
        if type(teacher) in _classes(mapping, type(teacher.config)):
            if config_class in mapping:
                return _classes(mapping, config_class)[0]
            break
    raise fail(
        f"a {config_class.model_type} model with the head of {type(teacher).__name__}",
        "transformers has none",
        fix="choose another model_type, or the teacher's own",
    )


def _classes(mapping: Any, config_class: Any) -> tuple[Any, ...]:
    """The model classes for a config; some (DeiT) have several, the first is the usual one."""
    found = mapping.get(config_class, ())
    return found if isinstance(found, tuple) else (found,)
