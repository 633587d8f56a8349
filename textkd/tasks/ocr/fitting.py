"""Whether a processor and a model fit: the size of images, the ids of tokens; and what a model says itself of these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from textkd.errors import Problem, problem
from textkd.models.vocabulary import ids_of
from textkd.tasks.ocr.processor import pixels


def size_problems(processor: Any, model: Any) -> list[Problem]:
    """Where the images of a processor do not fit the encoder: size, channels, or a size that depends on the image.

    Two blank lines of different shapes go through the processor, so that every kind of processor is judged alike.
    """
    config = model.config.encoder
    side = config.image_size
    height, width = (side, side) if isinstance(side, int) else side
    wanted = (int(getattr(config, "num_channels", 3)), int(height), int(width))
    asked = f"images of {wanted[1]} x {wanted[2]} (height x width), the encoder's image_size"
    try:
        found = {pixels(processor, [Image.new("RGB", size)]).shape[1:] for size in ((40, 20), (900, 50))}
    except (ValueError, TypeError) as error:
        return [problem(asked, f"the processor fails on a blank line: {error}")]
    if len(found) > 1:
        shown = " and ".join(f"{h} x {w}" for _, h, w in sorted(found))
        return [problem(asked, f"the processor's size depends on the image: {shown}", fix="a processor that pads")]
    shape = tuple(found.pop())
    if shape == wanted:
        return []
    fix = "take the processor of this model, or an encoder of the processor's size"
    return [problem(asked, f"the processor makes {shape[1]} x {shape[2]} with {shape[0]} channels", fix=fix)]


def token_problems(processor: Any, model: Any) -> list[Problem]:
    """Ids that the model lacks or that mean another token to its tokenizer; a vocabulary larger than the decoder's."""
    tokenizer = processor.tokenizer
    problems = []
    for name, token, value in (
        ("pad_token_id", "pad", tokenizer.pad_token_id),
        ("decoder_start_token_id", "eos", tokenizer.eos_token_id),
    ):
        given = model_token(model, name)
        if value is None:
            problems.append(problem(f"a {token} token", "the tokenizer has none", fix=f"set tokenizer.{token}_token"))
        elif given is None or not _is_said(model, name):
            fix = f"model.config.{name} = {value}, and the same in model.generation_config"
            problems.append(problem(f"a {name} of the model", "none in its config.json", fix=fix))
        elif name == "pad_token_id" and given != value:
            found = f"{given} in the model, {value} in the tokenizer"
            problems.append(problem(f"one {name}", found, fix="take the tokenizer of this model"))
    rows = model.config.decoder.vocab_size
    if (ids := ids_of(tokenizer)) > rows:
        found = f"the tokenizer has {len(tokenizer)} tokens with ids up to {ids - 1}, the decoder {rows} rows"
        problems.append(problem("a decoder for this tokenizer", found, fix="take the tokenizer of this model"))
    return problems


def model_token(model: Any, name: str) -> int | None:
    """An id such as decoder_start_token_id: of the model's config, its generation settings or its decoder's config
    (where the folders of microsoft/trocr-* have it), whichever has one first."""
    for config in (model.config, getattr(model, "generation_config", None), model.config.decoder):
        value = getattr(config, name, None)
        if value is not None:
            return int(value)
    return None


def _is_said(model: Any, name: str) -> bool:
    """Whether the files of a model's folder have the id: a config that was read has its class's default for what is
    missing, which another tokenizer may not mean."""
    folder = Path(str(getattr(model, "name_or_path", "")))
    if not (folder / "config.json").is_file():
        return True
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = folder / "generation_config.json"
    said = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    return any(part.get(name) is not None for part in (config, config.get("decoder", {}), said))


def settle_tokens(model: Any, processor: Any) -> None:
    """Writes the ids that textkd reads with into the model's config and generation settings: a plain `generate` looks
    there alone."""
    tokenizer = processor.tokenizer
    start = model_token(model, "decoder_start_token_id")
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id,
           "decoder_start_token_id": tokenizer.eos_token_id if start is None else start}  # fmt: skip
    for name, value in ids.items():
        setattr(model.config, name, value)
        setattr(model.generation_config, name, value)
