"""Writes a trained reader of lines as an ONNX folder: two graphs, its tokenizer, how images become pixels, how texts
are searched; tried before the folder appears."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from textkd.deploy import lines_graphs, manifest
from textkd.deploy.manifest import DECODER, ENCODER, LINES, Manifest
from textkd.deploy.parts import made_by, save_words
from textkd.deploy.runtime.lines_images import Preparing
from textkd.deploy.runtime.lines_search import Decoding, Search
from textkd.errors import fail, reading
from textkd.models.forward import positions
from textkd.models.images import not_too_flat
from textkd.models.loading import quiet
from textkd.models.no_code import from_pretrained
from textkd.models.onnx.int8 import quantise
from textkd.models.onnx.session import session

log = logging.getLogger("textkd")
SEARCHED = ("num_beams", "length_penalty", "early_stopping", "no_repeat_ngram_size", "repetition_penalty")
# settings of `generate` without effect on a text, or read apart
IGNORED = (
    "max_length", "max_new_tokens", "do_sample", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id",
    "decoder_start_token_id", "transformers_version", "num_return_sequences", "output_attentions",
    "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate", "temperature", "top_k",
    "top_p", "typical_p", "_from_model_config",
)  # fmt: skip
EXACT = 1e-6
BYTES = 6  # of 255: what another backend may make of a pixel
TRIED = ((40, 20), (900, 50), (64, 16), (333, 77), (20, 300), (1500, 9), (2, 2), (2, 700), (2500, 120))  # width, height
COMPARED = 24  # tokens


def is_reader(model: Any) -> bool:
    """Whether a model writes a text for each image."""
    return isinstance(model, transformers.VisionEncoderDecoderModel)


def refuse_reader(model: Any, processor: Any, asked: str) -> None:
    """Raises `TextkdError` where a reader could not be exported, as far as it is known before it is trained.

    Args:
        model: a `VisionEncoderDecoderModel`.
        processor: its `TrOCRProcessor`.
        asked: for the message.
    """
    lines_graphs.refuse_other(model, asked)
    preparing_of(processor, asked)


def written_lines(model: Any, words: Path, part: Path, int8: str = "") -> Manifest:
    """Writes all files but the manifest.

    Args:
        model: a reader in eval mode, float32, on the CPU.
        words: the folder of its processor.
        part: the new folder.
        int8: "dynamic"; "": float32.

    Returns:
        What the folder holds.

    Raises:
        TextkdError: the decoder is no TrOCR, the processor cannot be rebuilt, settings of `generate` that are not
            searched with here, graphs that differ from the model.
    """
    asked = f"{type(model).__name__} as ONNX"
    lines_graphs.refuse_other(model, asked)
    if int8 == "static":
        raise fail(f"{asked}, int8 (static)", "readers of lines are quantised without rows", fix="--int8 dynamic")
    search, processor = search_of(model, asked), _processor(words)
    images, far = preparing_of(processor, asked)
    save_words(processor.tokenizer, part)
    processor.image_processor.save_pretrained(part)
    model.config.save_pretrained(part)
    model.generation_config.save_pretrained(part)
    _compare_texts(processor.tokenizer, part, model.decoder.config.vocab_size)
    front = "float-" if int8 else ""
    graphs = [part / f"{front}{name}" for name in (ENCODER, DECODER)]
    lines_graphs.write_graphs(model, *graphs)
    decoding = Decoding(*(session(graph, 1) for graph in graphs))
    close = lines_graphs.parity(model, decoding)
    if not lines_graphs.is_close(close):
        found = f"their logits differ by up to {close['largest_difference']:.1e} (of {close['largest_logit']:.1f})"
        raise fail("graphs that compute what the model computes", found, fix=lines_graphs.REPORT)
    _compare_search(model, decoding, search)
    agreement = {**close, "pixels": far}
    if int8:
        for graph, name in zip(graphs, (ENCODER, DECODER), strict=True):
            quantise(graph, part / name, int8)
            graph.unlink()
        after = lines_graphs.parity(model, Decoding(*(session(part / name, 1) for name in (ENCODER, DECODER))))
        agreement["int8_largest_difference"] = after["largest_difference"]
    tokenizer = processor.tokenizer
    return Manifest(
        kind=LINES, labels=[], max_length=search.max_new_tokens, inputs=["pixel_values"],
        pad=[tokenizer.pad_token_id or 0, tokenizer.pad_token or "<pad>", 0], int8=int8, agreement=agreement,
        made_by=made_by(), lines={"search": asdict(search), "images": asdict(images)}, sums=manifest.sums_of(part),
    )  # fmt: skip


def search_of(model: Any, asked: str) -> Search:
    """How a model's own settings search a text.

    Args:
        model: with its `generation_config`.
        asked: for the message.

    Raises:
        TextkdError: they ask for something else than greedy search or beams.
    """
    settings = model.generation_config
    usual = {**settings._get_default_generation_params(), "do_sample": False}
    own = {name: value for name, value in settings.to_dict().items() if value is not None}
    foreign = [name for name in own if name not in (*SEARCHED, *IGNORED)]
    other = [f"{name}: {own[name]}" for name in foreign if own[name] != usual.get(name)]
    other += ["do_sample: true"] if own.get("do_sample") else []
    fix = "take it out of generation_config.json"
    if other:
        raise fail(asked, f"generation_config.json asks for {', '.join(other)}, which is not known here", fix=fix)
    start, ends = settings.decoder_start_token_id, settings.eos_token_id
    start = settings.bos_token_id if start is None else start
    if start is None or ends is None:
        raise fail(asked, "generation_config.json names no decoder_start_token_id or no eos_token_id", fix="name both")
    chosen = {name: usual[name] if own.get(name) is None else own[name] for name in SEARCHED}
    asked_for = settings.max_new_tokens or (settings.max_length - 1 if settings.max_length else usual["max_length"])
    with reading(f"{asked}: generation_config.json", fix=fix):
        ids = tuple(ends) if isinstance(ends, list | tuple) else (ends,)
        return Search.of({"start": start, "ends": ids, "max_new_tokens": min(asked_for, positions(model)), **chosen})


def _processor(folder: Path) -> Any:
    fix = "give a folder with its files (preprocessor_config.json, tokenizer.json)"
    with reading(f"the processor of {folder}", fix=fix), quiet():
        return from_pretrained(transformers.TrOCRProcessor, str(folder))


def preparing_of(processor: Any, asked: str) -> tuple[Preparing, dict[str, Any]]:
    """How a processor makes pixels, and how far the runtime's pixels are from its own.

    Args:
        processor: with an `image_processor` of transformers.
        asked: for the message.

    Returns:
        What the runtime does, and {"largest_difference": of pixel values, "backend": of the processor}.

    Raises:
        TextkdError: it does something else.
    """
    own = processor.image_processor
    name, backend = type(own).__name__, str(getattr(own, "backend", "unknown"))
    fix = "export it as a plain folder, or train with a processor of the kind that textkd makes (task.height, width)"
    size = {name: side for name, side in dict(own.size).items() if side}
    height, width = size.get("height"), size.get("width")
    other = [f"{key}: true" for key in ("do_center_crop", "do_grayscale") if getattr(own, key, None)]
    is_donut = hasattr(own, "do_thumbnail")
    if getattr(own, "do_pad", None) and not is_donut:
        other.append("do_pad: true")
    if other or not height or not width:
        found = f"its processor, a {name}, has {', '.join(other) or f'the size {size}, no height and width'}"
        raise fail(asked, f"{found}: not known to the runtime", fix=fix)
    made = Preparing(
        height=height, width=width, resample=int(getattr(own, "resample", None) or 2),
        resize=bool(own.do_resize), keeps_aspect=is_donut,
        fits=is_donut and bool(own.do_thumbnail), turns=is_donut and bool(own.do_align_long_axis),
        fills=is_donut and bool(own.do_pad), factor=float(own.rescale_factor) if own.do_rescale else None,
        mean=_channels(own.image_mean) if own.do_normalize else None,
        std=_channels(own.image_std) if own.do_normalize else None,
    )  # fmt: skip
    chance, worst = np.random.default_rng(0), 0.0
    for wide, high in TRIED:
        image = Image.fromarray(chance.integers(0, 256, (high, wide, 3), dtype=np.uint8))
        fitting = not_too_flat(image, height, width) if made.fits else image
        wanted = np.asarray(own([fitting], return_tensors="np")["pixel_values"], np.float32)
        found_here = made.pixels([image])
        if wanted.shape != found_here.shape:
            what = f"{wide} x {high} pixels become {list(wanted.shape)}, here {list(found_here.shape)}"
            raise fail(asked, f"its processor, a {name}, cannot be rebuilt: {what}", fix=fix)
        worst = max(worst, float(np.abs(wanted - found_here).max()))
    step = (made.factor or 1.0) / min(made.std or (1.0,))
    if not worst <= (EXACT if backend == "pil" else BYTES * step):
        what = f"pixel values differ by up to {worst:.1e}"
        raise fail(asked, f"its processor, a {name} ({backend}), cannot be rebuilt: {what}", fix=fix)
    if worst > EXACT:
        told = "images are resized with Pillow, in training with %s: pixel values differ by up to %.1e"
        log.warning(told, backend, worst)
    return made, {"largest_difference": worst, "backend": backend}


def _channels(value: Any) -> tuple[float, ...]:
    return tuple(float(one) for one in value) if isinstance(value, Sequence) else (float(value),) * 3


def _compare_texts(tokenizer: Any, part: Path, count: int) -> None:
    """Raises `TextkdError` where tokenizer.json alone writes other texts than transformers."""
    from tokenizers import Tokenizer

    alone, chance = Tokenizer.from_file(str(part / manifest.WORDS)), np.random.default_rng(0)
    known = min(count, len(tokenizer))
    for length in (0, 1, 2, 5, 9, 20, 60):
        row = chance.integers(0, known, length).tolist()
        one = tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        other = alone.decode(row, skip_special_tokens=True)
        if one != other:
            found = f"tokenizer.json alone writes {other!r} for {row}, transformers {one!r}"
            raise fail("an ONNX export", found, fix="report it with the folder's tokenizer files")


@torch.no_grad()
def _compare_search(model: Any, decoding: Decoding, search: Search) -> None:
    """Raises `TextkdError` where the graphs write other tokens than `generate` does, greedily and by the model's own
    settings. Where two tokens are as good as equal, either may be written."""
    chance, limit = torch.Generator().manual_seed(2), min(COMPARED, search.max_new_tokens)
    apart = list[str]()
    for beams in dict.fromkeys((1, search.num_beams)):
        for count in (1, 3):
            pixels = torch.randn(count, *lines_graphs.image_of(model), generator=chance)
            one = Search(**{**asdict(search), "num_beams": beams, "max_new_tokens": limit})
            wanted, found = generated(model, pixels, one), decoding.search(pixels.numpy(), one)
            apart += [f"{w} and {f}" for w, f in zip(wanted, found, strict=True) if w != f]
    if len(apart) > 1:  # one may be a tie
        raise fail("graphs that write what the model writes", f"tokens differ: {apart[0]}", fix=lines_graphs.REPORT)


def generated(model: Any, pixels: torch.Tensor, search: Search) -> list[list[int]]:
    """The tokens that transformers' `generate` writes by the same settings, the start token left out.

    Args:
        model: a reader.
        pixels: [B, C, H, W].
        search: how.
    """
    settings = {name: getattr(search, name) for name in (*SEARCHED, "max_new_tokens")}
    before = model.generation_config
    pad = search.ends[0] if before.pad_token_id is None else before.pad_token_id
    model.generation_config = transformers.GenerationConfig(
        **settings,
        do_sample=False,
        pad_token_id=pad,
        eos_token_id=list(search.ends),
        decoder_start_token_id=search.start,
    )
    try:
        with quiet():
            rows = model.generate(pixel_values=pixels)[:, 1:].tolist()
    finally:
        model.generation_config = before
    return [row[: next((i + 1 for i, token in enumerate(row) if token in search.ends), len(row))] for row in rows]
