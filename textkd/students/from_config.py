"""A student of another width, with random weights: for when no smaller pretrained model and no shrinking will do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import transformers
from transformers import PreTrainedModel

from textkd.errors import Problem, TextkdError, fail, nearest, problem

log = logging.getLogger(__name__)

RANDOM_INIT_WARNING = (
    "the student starts from random weights: it knows no language yet and needs far more data and steps than a student "
    "that was pretrained (a TextBrewer user ended at 0.14 accuracy). Prefer student: {shrink: ...} or {path: ...}; "
    "otherwise pretrain it on plain text first"
)
# What no recipe sets: identity of the config, and what the teacher decides.
NOT_FIELDS = ("architectures", "transformers_version", "model_type", "_name_or_path", "is_encoder_decoder", "label2id")
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
WIDTH_OF_FFN = ("intermediate_size", "hidden_dim")
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
    """A randomly initialised student: the teacher's config with `overrides` (hidden_size, num_attention_heads, ...).

    model_type="distilbert" (or another) starts from that architecture's default config instead, with the teacher's
    vocabulary, kind of head and labels. The standard names hidden_size, intermediate_size, num_hidden_layers and
    num_attention_heads work for every architecture. When hidden_size changes and the feed-forward width is not given,
    it keeps its ratio to hidden_size (4 in BERT). Weights come from torch's global random state: seed it before. In
    eval mode, float32. Logs `RANDOM_INIT_WARNING`. Raises `TextkdError` with every unknown field and impossible size.
    """
    overrides = dict(overrides)
    model_type = overrides.pop("model_type", teacher.config.model_type)
    values, model_class = _start(teacher, model_type)
    config_class = type(teacher.config) if model_type == teacher.config.model_type else _config_class(model_type)
    given = _field_names(config_class, values, overrides)
    _follow(config_class, values, given)
    values.update(given)
    wrong = list(_impossible(config_class, values))
    if wrong:
        raise TextkdError(*wrong)
    try:
        config = config_class.from_dict(values)
        student: PreTrainedModel = model_class(config)
    except Exception as error:  # transformers' configs raise their own kinds; a size can also fail inside a layer
        raise fail(f"a student config {overrides}", str(error), fix="correct the value of the field") from error
    log.warning("%s", RANDOM_INIT_WARNING)
    return student.eval()


def _start(teacher: PreTrainedModel, model_type: str) -> tuple[dict[str, Any], Any]:
    """The config that the overrides change, as a dict, and the class of the student."""
    own = teacher.config.to_dict()
    if model_type == teacher.config.model_type:
        return own, type(teacher)
    values = _config_class(model_type)().to_dict()
    kept = [*(name for name in VOCABULARY if name in values), "id2label", "label2id", "problem_type"]
    values.update({name: own[name] for name in kept if name in own})
    return values, _same_head(teacher, _config_class(model_type))


def _config_class(model_type: str) -> Any:
    known = transformers.CONFIG_MAPPING
    if model_type not in known:
        fix = "use a model_type of transformers, such as bert, distilbert or modernbert"
        raise fail(f"model_type {model_type!r}", "not known to transformers", near=(str(model_type), known), fix=fix)
    return known[model_type]


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


def _field_names(config_class: Any, values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """The overrides under the config's own names; every name that it does not have is told."""
    renamed = {**config_class.attribute_map}
    if "intermediate_size" not in values and "hidden_dim" in values:
        renamed["intermediate_size"] = "hidden_dim"
    fields = [name for name in {**values, **renamed} if name not in NOT_FIELDS]
    wrong = []
    for name in overrides:
        if name not in fields:
            fix = f"use a field of {config_class.__name__}" if nearest(name, fields) else f"fields: {', '.join(fields)}"
            wrong.append(
                problem(
                    f"student config {name}", f"{config_class.__name__} has no such field", near=(name, fields), fix=fix
                )
            )
    if wrong:
        raise TextkdError(*wrong)
    return {renamed.get(name, name): value for name, value in overrides.items()}


def _follow(config_class: Any, values: dict[str, Any], given: dict[str, Any]) -> None:
    """Lets what hangs on a changed size follow it: the feed-forward width, and lists with one entry per block."""
    width = config_class.attribute_map.get("hidden_size", "hidden_size")
    depth = config_class.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    if isinstance(given.get(width), int) and given[width] != values[width]:
        for ffn in WIDTH_OF_FFN:
            if ffn in values and ffn not in given:
                values[ffn] = given[width] * values[ffn] // values[width]
    if given.get(depth, values[depth]) != values[depth]:
        values.pop("layer_types", None)  # the config makes its usual pattern for the new depth


def _impossible(config_class: Any, values: dict[str, Any]) -> Iterator[Problem]:
    names = {name: config_class.attribute_map.get(name, name) for name in ("hidden_size", "num_attention_heads")}
    sizes = [*names.values(), config_class.attribute_map.get("num_hidden_layers", "num_hidden_layers"), *WIDTH_OF_FFN]
    wrong = [name for name in sizes if name in values and (type(values[name]) is not int or values[name] < 1)]
    for name in wrong:
        yield problem(f"student config {name}: {values[name]!r}", "not a positive whole number", fix="give 1 or more")
    hidden, heads = values[names["hidden_size"]], values[names["num_attention_heads"]]
    if not wrong and hidden % heads:
        fitting = [h for h in range(1, hidden + 1) if hidden % h == 0 and hidden // h >= 8] or [1]
        best = min(fitting, key=lambda h: abs(h - heads))
        yield problem(
            f"student config {names['hidden_size']}: {hidden} with {names['num_attention_heads']}: {heads}",
            f"{hidden} is not a multiple of {heads}",
            fix=f"use {best} heads, or a width of {max(1, round(hidden / heads)) * heads}",
        )
