"""A student of two sides: each side of a `VisionEncoderDecoderModel` is a copy of the teacher's or made anew."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from textkd.errors import Collector, fail, problem
from textkd.models.fixes import repair_positions
from textkd.models.loading import quiet
from textkd.models.students.copying import block_list, config_of_blocks, copy_weights
from textkd.models.students.layers import choose_side
from textkd.models.students.random_init import sides_warning
from textkd.models.students.sides import link_widths, side_config
from textkd.models.students.sinusoidal import start_as_waves
from textkd.models.students.widths import SIDES

log = logging.getLogger(__name__)

CROSS_KEYS = (".encoder_attn.k_proj.", ".encoder_attn.v_proj.")  # what reads the encoder's width in a TrOCR block


@dataclass(frozen=True)
class _Side:
    config: Any
    blocks: dict[str, list[int]]  # path of the list of blocks -> indices of the teacher's; empty: every block in place


def compose_from(teacher: PreTrainedModel, overrides: Mapping[str, Any], **layers: Any) -> PreTrainedModel:
    """`compose` with the sides of a recipe's `config`. Raises `TextkdError` for keys that are no side."""
    wrong = Collector()
    for key, value in overrides.items():
        if key not in SIDES:
            found = f"{type(teacher).__name__} has two sides with a config each"
            fix = f"put it under encoder or decoder: {{decoder: {{{key}: {value!r}}}}}"
            wrong.add(problem(f"student config {key}", found, near=(key, SIDES), fix=fix))
        elif not isinstance(value, Mapping):
            fix = f"for example {key}: {{hidden_size: 128}}"
            wrong.add(problem(f"student config {key}: {value!r}", "not a block of keys", fix=fix))
    if not overrides:
        fix = "name the side that is to be new: encoder: {hidden_size: 128}"
        wrong.add(problem("student config {}", "no side in it", fix=fix))
    wrong.raise_any()
    return compose(teacher, **layers, **overrides)


def compose(
    teacher: PreTrainedModel,
    *,
    encoder_layers: int | Sequence[int] | None = None,
    decoder_layers: int | Sequence[int] | None = None,
    encoder: Mapping[str, Any] | None = None,
    decoder: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """A student of a `VisionEncoderDecoderModel`, side by side: each side is copied from the teacher or made anew.

    A new side starts from random weights; the other is a copy of the teacher's blocks (see `shrink`). Vocabulary, token
    ids, image size and generation_config are the teacher's. The link between the sides keeps the teacher's form
    (cross_attention_hidden_size, or enc_to_dec_proj where widths differ); what of it no longer fits starts random too.
    Random weights come from torch's global random state and are announced in the log; with nothing random that state is
    untouched.

    Args:
        teacher: what is copied. It is not changed.
        encoder_layers: block numbers of the encoder to copy, or how many (chosen uniformly); None: all.
        decoder_layers: the same of the decoder.
        encoder: fields that override the teacher's; then the encoder is new. model_type may change between vit and
            deit.
        decoder: fields that override the teacher's; then the decoder is new.

    Returns:
        A model in eval mode; dtype and device are the teacher's when anything is copied, else float32 on the CPU.

    Raises:
        TextkdError: with the problems of both sides.

    Example:
        >>> from textkd import new_ocr_model
        >>> ids = {"vocab_size": 20, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        >>> sizes = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
        >>> teacher = new_ocr_model(sizes, {"d_model": 16, "decoder_layers": 2}, ids)
        >>> student = compose(teacher, encoder_layers=[2], decoder={"num_hidden_layers": 1})
        >>> student.config.encoder.num_hidden_layers, student.config.decoder.decoder_layers
        (1, 1)
    """
    given, layers = {"encoder": encoder, "decoder": decoder}, {"encoder": encoder_layers, "decoder": decoder_layers}
    wrong, sides = Collector(), dict[str, _Side]()
    for side in SIDES:
        with wrong.collecting():
            sides[side] = _side(teacher, side, layers[side], given[side])
    wrong.raise_any()
    new = [side for side in SIDES if given[side] is not None]
    config = copy.deepcopy(teacher.config)
    config.encoder, config.decoder = sides["encoder"].config, sides["decoder"].config
    config.name_or_path = ""
    link_widths(teacher, config, decoder or {})
    links = _random_links(teacher, config, new)
    student = _construct(teacher, config, bool(new or links))
    start_as_waves(student, new)
    if len(new) < len(SIDES):
        like = next(teacher.parameters())
        student.to(device=like.device, dtype=like.dtype)
    fresh = tuple(f"{side}." for side in new)
    copy_weights(
        teacher,
        student,
        {**sides["encoder"].blocks, **sides["decoder"].blocks},
        lambda name: name.startswith(fresh) or any(part in name for part in links),
    )
    repair_positions(student)
    _take_generation(teacher, student)
    if new:
        log.warning("%s", sides_warning(new, tuple(dict.fromkeys(links.values()))))
    return student.eval()


def _side(teacher: Any, side: str, layers: int | Sequence[int] | None, given: Mapping[str, Any] | None) -> _Side:
    model, found = getattr(teacher, side), Collector()
    if given is not None:
        if layers is not None:
            asked = f"student {side}_layers {layers!r} and config {side}: {dict(given)!r}"
            fix = f"give one of them; num_hidden_layers in the config sets the depth of a new {side}"
            raise fail(asked, f"the {side} is either copied or new", fix=fix, where=side)
        with found.collecting(side):
            made = _Side(side_config(teacher, side, given), {})
        found.raise_any()
        return made
    if layers is None:
        config = copy.deepcopy(model.config)
        config.name_or_path = ""
        return _Side(config, {})
    path, _ = block_list(model)
    with found.collecting(f"shrink.{side}_layers"):
        chosen = choose_side(int(model.config.num_hidden_layers), layers)
    found.raise_any()
    return _Side(config_of_blocks(model.config, chosen), {f"{side}.{path}": [k - 1 for k in chosen]})


def _random_links(teacher: Any, config: Any, new: Sequence[str]) -> dict[str, str]:
    """The weights between the sides that cannot be the teacher's: part of their name -> what they are."""
    links = {}
    had, has = (getattr(c.decoder, "cross_attention_hidden_size", None) for c in (teacher.config, config))
    widths = [(c.encoder.hidden_size, c.decoder.hidden_size) for c in (teacher.config, config)]
    if has is None and widths[1][0] != widths[1][1] and ("encoder" in new or widths[0] != widths[1] or had):
        links["enc_to_dec_proj."] = "the projection between the two sides"
    if "decoder" not in new and (had or widths[0][1]) != (has or widths[1][1]):
        links.update(dict.fromkeys(CROSS_KEYS, "keys and values of the decoder's cross-attention"))
    return links


def _construct(teacher: Any, config: Any, random: bool) -> PreTrainedModel:
    try:
        with quiet(), nullcontext() if random else torch.random.fork_rng(devices=[]):
            student: PreTrainedModel = type(teacher)(config)
    except Exception as error:  # a size that only a layer finds impossible
        raise fail(
            f"a student of {type(teacher).__name__}", str(error), fix="correct the value of the field"
        ) from error
    if getattr(teacher.encoder, "pooler", True) is None:
        student.encoder.pooler = None
    return student


def _take_generation(teacher: Any, student: Any) -> None:
    """The teacher's generation_config, no longer than the student's decoder has positions."""
    settings = copy.deepcopy(teacher.generation_config)
    most = getattr(student.config.decoder, "max_position_embeddings", None)
    if most is not None:
        for name, limit in (("max_length", most), ("max_new_tokens", most - 1)):
            if (getattr(settings, name, None) or 0) > limit:
                setattr(settings, name, limit)
    student.generation_config = settings
