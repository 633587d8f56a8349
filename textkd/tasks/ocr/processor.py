"""Processors of lines: a TrOCRProcessor made from train texts, loaded from a folder, or checked against a model.

White space: an image of a line does not show how many spaces were typed. The tokenizer (transformers'
XLMRobertaTokenizer, the class of microsoft/trocr-small-*) splits at white space and writes one space between words and
none at the ends, so that is what a model learns. References keep the white space they have, and error rates count it.
Nothing else of a text is changed: no case, no Unicode normalisation.
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import transformers
from PIL import Image
from transformers import DonutImageProcessorPil, TrOCRProcessor, XLMRobertaTokenizer

from textkd.errors import Collector, Problem, fail, problem

KINDS = ("char", "unigram")
UNIGRAM_SIZE = 1000
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3, as in every XLM-RoBERTa and TrOCR-small folder
OVERHEAD = len(SPECIAL) + 2  # and <mask>, and the space
RESERVED = str.maketrans("", "", "▁▅")  # sentencepiece's own signs for a space and an unknown character
TOKENIZER_FILES = ("tokenizer.json", "sentencepiece.bpe.model", "vocab.json", "vocab.txt", "spiece.model")
IMAGE_FILES = ("processor_config.json", "preprocessor_config.json")


def line_processor(
    texts: Iterable[str], height: int = 32, width: int = 1024, kind: str = "char", vocab_size: int | None = None,
    characters: str = "",
) -> Any:  # fmt: skip
    """A `TrOCRProcessor` for images of lines, its tokenizer trained on `texts`.

    Images: transformers' DonutImageProcessor (PIL backend) resizes to `height`, keeps the aspect ratio, shrinks a line
    that is then wider than `width`, pads to `width` on both sides and scales to -1..1: pixel_values [3, height, width].
    Tokens: sentencepiece's own trainer without any normalisation; kind "char" (one token per character, and one for
    each space) or "unigram" (word pieces, `vocab_size` of them, 1000 by default, fewer where the texts give fewer).
    Ids in the XLM-RoBERTa layout: <s> 0, <pad> 1, </s> 2, <unk> 3, pieces, <mask>. A character that `texts` and
    `characters` lack is <unk>. Saved by `save_pretrained` it loads with `TrOCRProcessor.from_pretrained` and
    `AutoTokenizer`.
    Raises `TextkdError`: no text, unknown kind, sizes that cannot be, a vocabulary smaller than the alphabet.
    """
    more = "".join(characters.split()) if isinstance(characters, str) else ""
    lines = [one_spaced(text).translate(RESERVED) for text in (*texts, *more)]
    collector = Collector()
    collector.add(*check_shape(height, width, kind, vocab_size, characters), *_check_lines(lines, kind, vocab_size))
    collector.raise_any()
    images = DonutImageProcessorPil(
        size={"height": height, "width": width}, do_align_long_axis=False, do_thumbnail=True, do_pad=True,
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    return TrOCRProcessor(images, XLMRobertaTokenizer(vocab=_train(lines, kind, vocab_size)))


def check_shape(height: int, width: int, kind: str, vocab_size: int | None, characters: str = "") -> list[Problem]:
    """What is wrong with the options of `line_processor`, the texts aside."""
    problems = []
    if kind not in KINDS:
        problems.append(problem(f"tokenizer {kind!r}", f"the kinds are {', '.join(KINDS)}", near=(str(kind), KINDS)))
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in (height, width))
    if not whole or not 8 <= height <= width:
        found = "whole numbers are needed, the height at least 8, the width at least the height"
        problems.append(problem(f"height {height!r}, width {width!r}", found, fix="height=32, width=1024, say"))
    if vocab_size is not None and kind == "char":
        found = "a character tokenizer has one token for each character of the transcripts"
        problems.append(problem(f"vocab_size {vocab_size!r}", found, fix="leave it out, or tokenizer=unigram"))
    elif vocab_size is not None and (isinstance(vocab_size, bool) or not isinstance(vocab_size, int)):
        problems.append(problem(f"vocab_size {vocab_size!r}", "not a whole number", fix="1000, say"))
    if not isinstance(characters, str):
        problems.append(problem(f"characters {characters!r}", "not a text", fix='characters: "éÉß", say'))
    return problems


def _check_lines(lines: Sequence[str], kind: str, vocab_size: int | None) -> list[Problem]:
    if not any(lines):
        found = f"{len(lines)} texts without a character"
        return [problem("transcripts to train a tokenizer on", found, fix="give transcribed lines, or processor=")]
    least = _least(lines)
    if kind == "unigram" and isinstance(vocab_size, int) and vocab_size < least:
        found = f"{least - OVERHEAD} different characters, a space and {OVERHEAD - 1} special tokens"
        return [problem(f"vocab_size {vocab_size}", found, fix=f"{least} or more")]
    return []


def _least(lines: Sequence[str]) -> int:
    """The tokens that these lines need: one for each character, and what every vocabulary has."""
    return len(set("".join(lines)) - {" "}) + OVERHEAD


def _train(lines: Sequence[str], kind: str, vocab_size: int | None) -> list[tuple[str, float]]:
    """Pieces and their log-probabilities in the order of their ids."""
    least = _least(lines)
    size = least if kind == "char" else max(vocab_size or UNIGRAM_SIZE, least)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for line in lines if line),
        model_writer=model,
        model_type=kind,
        vocab_size=size - 2,  # sentencepiece's three special tokens give way to the five of XLM-RoBERTa
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        max_sentence_length=1 << 24,  # longer ones would be dropped without a word
        num_threads=1,  # the same pieces on every machine
        minloglevel=2,
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(trained.id_to_piece(i), float(trained.get_score(i))) for i in range(3, len(trained))]
    return [*((name, 0.0) for name in SPECIAL), *pieces, ("<mask>", 0.0)]


def load_processor(path: str | Path) -> Any:
    """The `TrOCRProcessor` of a folder or of a hub id.

    Raises `TextkdError` for a folder without image processor or tokenizer, a damaged file and an unknown id.
    """
    asked, folder = f"the processor of {path}", Path(path).expanduser()
    if folder.is_dir():
        _check_folder(folder, asked)
    elif folder.is_file():
        raise fail(asked, "a file", fix="give the folder that holds it")
    try:
        with Quiet():
            return TrOCRProcessor.from_pretrained(str(folder if folder.is_dir() else path), trust_remote_code=False)
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, TypeError and its own kinds
        said = f"{type(error).__name__}: {str(error).strip().split(chr(10) * 2)[0]}"
        if folder.is_dir():
            raise fail(asked, f"it does not load: {said}", fix="check its JSON files and its tokenizer") from error
        fix = "check the spelling; without a network give a folder"
        raise fail(asked, f"no such folder here, and the hub did not give it ({said})", fix=fix) from error


def _check_folder(folder: Path, asked: str) -> None:
    names = sorted(entry.name for entry in folder.iterdir())
    collector = Collector()
    for what, due in (("an image processor", IMAGE_FILES), ("a tokenizer", TOKENIZER_FILES)):
        if not set(due) & set(names):
            found = f"no file of {what} in {folder} (it holds {', '.join(names) or 'nothing'})"
            fix = f"one of {', '.join(due)} beside the weights, or give processor="
            collector.add(problem(asked, found, fix=fix))
    for name in names:
        if name in (*IMAGE_FILES, "tokenizer.json", "tokenizer_config.json"):
            try:
                json.loads((folder / name).read_text(encoding="utf-8"))
            except (ValueError, OSError) as error:
                collector.add(problem(asked, f"{folder / name} is no JSON ({error})", fix="copy the file again"))
    collector.raise_any()


class Quiet:
    """Keeps transformers from logging; what is wrong is raised."""

    def __enter__(self) -> None:
        self.level = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()

    def __exit__(self, *_: Any) -> None:
        transformers.logging.set_verbosity(self.level)


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
    if len(tokenizer) > rows:
        found = f"the tokenizer has {len(tokenizer)} tokens, the decoder {rows} rows"
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


def pixels(processor: Any, images: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
    """[B, channels, height, width] float32 of RGB images. Raises `ValueError` where their sizes differ afterwards."""
    height, width = keeping_size(processor) or (0, 0)
    fitting = [_not_too_flat(image, height, width) for image in images]
    values = processor.image_processor(fitting, return_tensors="np")["pixel_values"]
    return np.asarray(values, dtype=np.float32)


def keeping_size(processor: Any) -> tuple[int, int] | None:
    """(height, width) of a processor that keeps the aspect ratio; None of others."""
    images = processor.image_processor
    size = dict(images.size) if getattr(images, "do_thumbnail", False) else {}
    height, width = size.get("height"), size.get("width")
    return (height, width) if height and width else None


def _not_too_flat(image: Image.Image, height: int, width: int) -> Image.Image:
    """The image, but high and wide enough that it keeps two pixels of each when it is shrunk to fit."""
    if not height or not width:
        return image
    share = max(image.width / width, image.height / height, 1.0)
    least = math.ceil(2 * share)
    if min(image.size) >= least:
        return image
    return image.resize((max(image.width, least), max(image.height, least)))


def one_spaced(text: str) -> str:
    """The text as a tokenizer writes it back: one space between words, none at the ends."""
    return " ".join(text.split())


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The label ids of each text: its tokens and eos, no bos (TrOCR's decoder starts with eos itself)."""
    if not texts:
        return []
    ids = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return [[*row, tokenizer.eos_token_id] for row in ids]


def decode_texts(tokenizer: Any, ids: Iterable[Sequence[int]]) -> list[str]:
    """Token ids -> texts, without special tokens, no space moved."""
    rows = [list(row) for row in ids]
    if not rows:
        return []  # batch_decode takes no rows for one empty row
    return list(tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def unwritable(tokenizer: Any, texts: Sequence[str], labels: Sequence[Sequence[int]] | None = None) -> list[int]:
    """The places of texts that do not come back from their ids (white space aside, see the head of this file)."""
    back = decode_texts(tokenizer, labels if labels is not None else encode_texts(tokenizer, texts))
    return [i for i, (text, again) in enumerate(zip(texts, back, strict=True)) if one_spaced(text) != again.strip()]


def missing_characters(tokenizer: Any, texts: Iterable[str]) -> Counter[str]:
    """Characters that the tokenizer cannot write, and how often they come: unknown to it, or normalised away."""
    counts = Counter(character for text in texts for character in text if not character.isspace())
    known = list(counts)
    lost = {known[i] for i in unwritable(tokenizer, known)}
    return Counter({character: count for character, count in counts.items() if character in lost})
