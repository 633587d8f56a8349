"""A fresh OCR model with random weights, a ViT or DeiT encoder and a TrOCR decoder: a teacher for a recipe to train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel

from textkd.errors import Collector, fail, problem
from textkd.models.students.fields import override
from textkd.models.students.sides import checked_config, class_of
from textkd.models.students.sinusoidal import start_as_waves

# Line images of 32 pixels, read in columns of 8.
ENCODER: dict[str, Any] = {
    "image_size": [32, 1024],
    "patch_size": [32, 8],
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "pooler_output_size": 256,
}
DECODER: dict[str, Any] = {
    "d_model": 256,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 1024,
    "max_position_embeddings": 128,
    "activation_function": "gelu",
    "dropout": 0.1,
    "use_learned_position_embeddings": True,
}
# transformers' 0.02 is meant for widths near 768; narrow models learn to read sooner with the same share of their width
SPREAD = {"encoder": "initializer_range", "decoder": "init_std"}
WIDTH = {"encoder": ("hidden_size", 256), "decoder": ("d_model", 256)}
# ids as of any small tokenizer
MADE_UP = {"vocab_size": 64, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
IDS = ("pad_token_id", "bos_token_id", "eos_token_id")


def new_ocr_model(
    encoder: Mapping[str, Any] | None = None, decoder: Mapping[str, Any] | None = None, tokenizer: Any = None
) -> VisionEncoderDecoderModel:
    """A `VisionEncoderDecoderModel` with random weights, to be trained: it reads images of text lines.

    Weights spread with 0.55 / sqrt(width), which is transformers' 0.02 at 768; learned positions start as waves
    (`textkd.models.students.sinusoidal`). Generation starts with eos as in TrOCR (the decoder's decoder_start_token_id
    changes that) and ends at the decoder's last position.

    Args:
        encoder: fields over the defaults: ViT, images of 32x1024 pixels in patches of 32x8, 6 blocks of width 256.
            model_type may be vit or deit.
        decoder: fields over the defaults: TrOCR, 2 blocks of width 256, 128 learned positions, dropout 0.1.
        tokenizer: one of transformers, or a mapping with vocab_size, pad_token_id, bos_token_id and eos_token_id; they
            cannot be overridden.

    Returns:
        A model in eval mode, float32. Its weights come from torch's global random state: seed it before.

    Raises:
        TextkdError: with every unknown field, impossible size and missing token of both sides.

    Example:
        >>> ids = {"vocab_size": 20, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
        >>> model = new_ocr_model({**sizes, "image_size": [32, 64]}, {"d_model": 16, "decoder_layers": 1}, ids)
        >>> model.config.encoder.image_size, model.generation_config.max_length
        ([32, 64], 128)
    """
    ids = _token_ids(tokenizer)
    wrong, configs = Collector(), dict[str, Any]()
    for side, defaults, given in (("encoder", ENCODER, encoder or {}), ("decoder", {**DECODER, **ids}, decoder or {})):
        with wrong.collecting(side):
            configs[side] = _config(side, defaults, given, ids if side == "decoder" else {})
    wrong.raise_any()
    return _model(configs["encoder"], configs["decoder"], decoder or {}, ids)


def new_reader(config: Mapping[str, Any], task: Any = None) -> VisionEncoderDecoderModel:
    """A recogniser of lines with random weights, from a recipe's block ``config``.

    Args:
        config: {"encoder": {...}, "decoder": {...}}, the fields of `new_ocr_model`; each side may be left out.
        task: whose texts the model is to write. None: it writes 64 made-up tokens, for a look at its other fields;
            token ids and vocab_size in `config` are not looked at then.

    Returns:
        As of `new_ocr_model`.

    Raises:
        TextkdError: a key that is no side, a side that is no mapping, and what `new_ocr_model` refuses.

    Example:
        >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
        >>> new_reader({"encoder": sizes, "decoder": {"decoder_layers": 1}}).config.decoder.vocab_size
        64
    """
    found, sides, example = Collector(), ("encoder", "decoder"), "{encoder: {...}, decoder: {...}}"
    for key in (key for key in config if key not in sides):
        what, near = "a recogniser has two sides", (str(key), sides)
        found.add(problem(f"config.{key}", what, near=near, fix=f"config: {example}", where="config"))
    for key in (key for key in sides if not isinstance(config.get(key) or {}, Mapping)):
        fix = "config: {encoder: {num_hidden_layers: 4}, decoder: {decoder_layers: 2}}"
        found.add(problem(f"config.{key}: {config[key]!r}", "not a block of fields", fix=fix, where="config"))
    config = {key: config[key] for key in sides if isinstance(config.get(key), Mapping)}
    made: list[VisionEncoderDecoderModel] = []
    tokenizer: Any = MADE_UP if task is None else task.processing("").tokenizer
    if task is None and config.get("decoder"):
        decoder = {name: value for name, value in config["decoder"].items() if name not in MADE_UP}
        config = {**config, "decoder": decoder}
    with found.collecting("config"):
        made.append(new_ocr_model(**config, tokenizer=tokenizer))
    found.raise_any()
    return made[0]


def _config(side: str, defaults: Mapping[str, Any], given: Mapping[str, Any], ids: Mapping[str, int]) -> Any:
    given = dict(given)
    width = given.get(*WIDTH[side])
    if isinstance(width, int) and width > 0:
        defaults = {**defaults, SPREAD[side]: round(0.55 * width**-0.5, 4)}
    config_class = class_of(side, given.pop("model_type", "vit" if side == "encoder" else "trocr"))
    wrong = Collector()
    values = {**config_class().to_dict(), **defaults}
    for name in (name for name in ids if name in given and given[name] != ids[name]):
        fix = "leave it out: the ids are the tokenizer's"
        wrong.add(problem(f"{side} config {name}: {given[name]!r}", f"the tokenizer's is {ids[name]}", fix=fix))
    with wrong.collecting():
        values = override(config_class, values, given, f"{side} config")
    return checked_config(config_class, side, values, wrong)


def _model(encoder: Any, decoder: Any, given: Mapping[str, Any], ids: Mapping[str, int]) -> VisionEncoderDecoderModel:
    name, width = "cross_attention_hidden_size", encoder.hidden_size
    if given.get(name, width) not in (None, width):
        fix = f"leave it out, or {name}: {width}"
        raise fail(f"decoder config {name}: {given[name]!r}", f"the encoder is {width} wide", fix=fix, where="decoder")
    decoder.cross_attention_hidden_size = given.get(name, width)
    decoder.decoder_start_token_id = given.get("decoder_start_token_id", ids["eos_token_id"])
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    tokens = {**{name: ids[name] for name in IDS}, "decoder_start_token_id": decoder.decoder_start_token_id}
    for token, number in tokens.items():
        setattr(config, token, number)
    try:
        model: VisionEncoderDecoderModel = VisionEncoderDecoderModel(config)
    except Exception as error:  # a value that only a layer finds impossible
        raise fail("a new OCR model", str(error), fix="correct the value of the field") from error
    start_as_waves(model)
    model.generation_config = GenerationConfig(max_length=decoder.max_position_embeddings, **tokens)
    return model.eval()


def _token_ids(tokenizer: Any) -> dict[str, int]:
    """vocab_size and the ids of pad, bos and eos. Raises `TextkdError` with all that are missing or out of range."""
    ids: dict[str, Any]
    if isinstance(tokenizer, Mapping):
        ids = {name: tokenizer.get(name) for name in ("vocab_size", *IDS)}
    elif hasattr(tokenizer, "get_vocab"):
        size = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))
        ids = {"vocab_size": size, **{name: getattr(tokenizer, name, None) for name in IDS}}
    else:
        fix = "give a tokenizer, or {vocab_size: ..., pad_token_id: ..., bos_token_id: ..., eos_token_id: ...}"
        raise fail(f"the tokenizer {tokenizer!r} of a new OCR model", "neither a tokenizer nor its ids", fix=fix)
    wrong = Collector()
    for name, value in ids.items():
        asked = f"{name} of the new model's tokenizer"
        if type(value) is not int:
            fix = "give it, or train a tokenizer that has it (TrOCR: <s> 0, <pad> 1, </s> 2)"
            wrong.add(problem(asked, f"it is {value!r}", fix=fix))
        elif name != "vocab_size" and type(ids["vocab_size"]) is int and not 0 <= value < ids["vocab_size"]:
            wrong.add(problem(asked, f"{value} in a vocabulary of {ids['vocab_size']}", fix="correct the id"))
    wrong.raise_any()
    return ids
