"""Configs of the two sides of a `VisionEncoderDecoderModel`, and of what joins them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textkd.errors import Collector, Problem, fail, problem
from textkd.models.students.fields import NOT_FIELDS, config_class_of, override

TYPES = {"encoder": ("vit", "deit"), "decoder": ("trocr",)}
# What must be the teacher's, or its tokens and images would mean something else to the student.
VOCABULARY = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
IMAGES = ("image_size", "num_channels")
# What makes a TrOCR a decoder of an encoder's outputs: never a choice.
FLAGS = ("is_decoder", "add_cross_attention")


def side_config(teacher: Any, side: str, overrides: Mapping[str, Any]) -> Any:
    """The teacher's config of a side with `overrides`. With another model_type, all fields that the two share are kept.

    Raises `TextkdError` with every unknown field, impossible size, and change of the vocabulary or the images.
    """
    overrides = dict(overrides)
    own = getattr(teacher, side).config
    model_type = overrides.pop("model_type", own.model_type)
    config_class = type(own) if model_type == own.model_type else class_of(side, model_type)
    values = own.to_dict()
    if config_class is not type(own):
        new = config_class().to_dict()
        values = {**new, **{k: v for k, v in values.items() if k in new and k not in NOT_FIELDS}}
    wrong = Collector()
    with wrong.collecting():
        values = override(config_class, values, overrides)
    wrong.add(*_changed(side, own, overrides))
    return checked_config(config_class, side, values, wrong)


def checked_config(config_class: Any, side: str, values: Mapping[str, Any], wrong: Collector) -> Any:
    """The config of a side, or a `TextkdError` with the problems in `wrong` and those of its values."""
    if side == "encoder" and not wrong.problems:
        wrong.add(*_patch_problems(values))
    wrong.raise_any()
    try:
        config = config_class.from_dict(dict(values))
    except Exception as error:  # transformers' configs raise their own kinds
        raise fail(f"a student config of the {side}", str(error), fix="correct the value of the field") from error
    config.name_or_path = ""
    return config


def link_widths(teacher: Any, config: Any, given: Mapping[str, Any]) -> None:
    """Lets the decoder's cross_attention_hidden_size follow the encoder's width, in the form that the teacher has.

    given: the overrides of the decoder; a cross_attention_hidden_size there is taken, and must fit.
    """
    width, name = config.encoder.hidden_size, "cross_attention_hidden_size"
    if name in given:
        if given[name] not in (None, width):
            fix = f"leave it out, or {name}: {width}"
            found = f"the encoder is {width} wide"
            raise fail(f"student config {name}: {given[name]!r}", found, fix=fix, where="decoder")
    elif getattr(teacher.config.decoder, name, None) is not None:
        setattr(config.decoder, name, width)


def class_of(side: str, model_type: str) -> Any:
    """The config class of a side's model_type. Raises `TextkdError` for one that cannot be this side."""
    if model_type not in TYPES[side]:
        found = f"no {side} that textkd can make"
        near = (str(model_type), TYPES[side])
        raise fail(f"model_type {model_type!r}", found, near=near, fix=f"one of {', '.join(TYPES[side])}")
    return config_class_of(model_type)


def size_of(value: Any) -> tuple[int, int]:
    """(height, width) of a config's image_size or patch_size: one number, or a pair."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _changed(side: str, own: Any, overrides: Mapping[str, Any]) -> list[Problem]:
    out = []
    for name in (*(VOCABULARY if side == "decoder" else IMAGES), *FLAGS):
        if name not in overrides or not hasattr(own, name):
            continue
        have, want = getattr(own, name), overrides[name]
        if have == want or (name == "image_size" and _is_size(want) and size_of(have) == size_of(want)):
            continue
        fix = "leave it out"
        if name == "image_size":
            fix += ", or give the teacher another size with fit_image_size: both models see the same images"
        out.append(problem(f"student config {name}: {want!r}", f"the teacher's is {have!r}", fix=fix))
    return out


def _patch_problems(values: Mapping[str, Any]) -> list[Problem]:
    out = []
    for name in ("image_size", "patch_size"):
        if not _is_size(values[name]):
            fix = "one number, or [height, width]"
            out.append(problem(f"{name}: {values[name]!r}", "not a size in pixels", fix=fix))
    if out:
        return out
    image, patch = size_of(values["image_size"]), size_of(values["patch_size"])
    if any(i % p for i, p in zip(image, patch, strict=True)):
        asked, found = f"patch_size: {list(patch)}", f"images of {image[0]}x{image[1]} pixels cannot be cut into those"
        best = [_divisor(i, p) for i, p in zip(image, patch, strict=True)]
        out.append(problem(asked, found, fix=f"a size that divides the image's, such as {best}"))
    return out


def _is_size(value: Any) -> bool:
    numbers = value if isinstance(value, list | tuple) else (value, value)
    return len(numbers) == 2 and all(type(n) is int and n > 0 for n in numbers)


def _divisor(size: int, wanted: int) -> int:
    return min((n for n in range(1, size + 1) if size % n == 0), key=lambda n: abs(n - wanted))
