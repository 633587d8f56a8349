"""Processors of lines: a TrOCRProcessor made from train texts, loaded from a folder, or checked against a model.

White space: an image of a line does not show how many spaces were typed. The tokenizer (transformers'
XLMRobertaTokenizer, the class of microsoft/trocr-small-*) splits at white space and writes one space between words and
none at the ends, so that is what a model learns. References keep the white space they have, and error rates count it.
Nothing else of a text is changed: no case, no Unicode normalisation.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from PIL import Image

from textkd.errors import Collector, Problem, TextkdError, fail, problem
from textkd.models.files import at_home
from textkd.models.images import not_too_flat
from textkd.models.no_code import from_pretrained
from textkd.models.regular import refuse_special
from textkd.tasks.ocr.options import MOST

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
    images = transformers.DonutImageProcessorPil(
        size={"height": height, "width": width}, do_align_long_axis=False, do_thumbnail=True, do_pad=True,
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    return transformers.TrOCRProcessor(images, transformers.XLMRobertaTokenizer(vocab=_train(lines, kind, vocab_size)))


def check_shape(height: int, width: int, kind: str, vocab_size: int | None, characters: str = "") -> list[Problem]:
    """What is wrong with the options of `line_processor`, the texts aside."""
    problems = []
    if kind not in KINDS:
        found, fix = f"the kinds are {', '.join(KINDS)}", f"tokenizer: {' or '.join(KINDS)}"
        problems.append(problem(f"tokenizer {kind!r}", found, near=(str(kind), KINDS), fix=fix, where="tokenizer"))
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in (height, width))
    if not whole or not 8 <= height <= min(width, MOST["height"]) or width > MOST["width"]:
        found = "whole numbers are needed, the height at least 8, the width at least the height"
        found += f"; at most {MOST['height']} and {MOST['width']}"
        problems.append(
            problem(f"height {height!r}, width {width!r}", found, fix="height: 32, width: 1024, say", where="height")
        )
    if vocab_size is not None and kind == "char":
        found = "a character tokenizer has one token for each character of the transcripts"
        fix = "leave it out, or tokenizer: unigram"
        problems.append(problem(f"vocab_size {vocab_size!r}", found, fix=fix, where="vocab_size"))
    elif vocab_size is not None and (isinstance(vocab_size, bool) or not isinstance(vocab_size, int)):
        problems.append(
            problem(f"vocab_size {vocab_size!r}", "not a whole number", fix="1000, say", where="vocab_size")
        )
    if not isinstance(characters, str):
        fix = 'characters: "éÉß", say'
        problems.append(problem(f"characters {characters!r}", "not a text", fix=fix, where="characters"))
    return problems


def _check_lines(lines: Sequence[str], kind: str, vocab_size: int | None) -> list[Problem]:
    if not any(lines):
        found = f"{len(lines)} texts without a character"
        return [
            problem("transcripts to train a tokenizer on", found, fix="give transcribed lines, or processor: FOLDER")
        ]
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
    import sentencepiece

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
    asked, folder = f"the processor of {path}", at_home(path)
    if folder.is_dir():
        _check_folder(folder, asked)
    elif folder.is_file():
        raise fail(asked, "a file", fix="give the folder that holds it")
    try:
        with Quiet():
            return from_pretrained(transformers.TrOCRProcessor, str(folder if folder.is_dir() else path))
    except TextkdError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, TypeError and its own kinds
        said = f"{type(error).__name__}: {str(error).strip().split(chr(10) * 2)[0]}"
        if folder.is_dir():
            raise fail(asked, f"it does not load: {said}", fix="check its JSON files and its tokenizer") from error
        fix = "check the spelling; without a network give a folder"
        raise fail(asked, f"no such folder here, and it could not be loaded from the hub ({said})", fix=fix) from error


def _check_folder(folder: Path, asked: str) -> None:
    refuse_special(folder, asked)
    names = sorted(entry.name for entry in folder.iterdir())
    collector = Collector()
    for what, due in (("an image processor", IMAGE_FILES), ("a tokenizer", TOKENIZER_FILES)):
        if not set(due) & set(names):
            found = f"no file of {what} in {folder} (it holds {', '.join(names) or 'nothing'})"
            fix = f"one of {', '.join(due)} beside the weights, or task.processor: FOLDER"
            fix += " (textkd eval: processor=FOLDER)"
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


def pixels(processor: Any, images: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
    """[B, channels, height, width] float32 of RGB images. Raises `ValueError` where their sizes differ afterwards."""
    height, width = keeping_size(processor) or (0, 0)
    fitting = [not_too_flat(image, height, width) for image in images]
    values = processor.image_processor(fitting, return_tensors="np")["pixel_values"]
    return np.asarray(values, dtype=np.float32)


def keeping_size(processor: Any) -> tuple[int, int] | None:
    """(height, width) of a processor that keeps the aspect ratio; None of others."""
    images = processor.image_processor
    size = dict(images.size) if getattr(images, "do_thumbnail", False) else {}
    height, width = size.get("height"), size.get("width")
    return (height, width) if height and width else None


def one_spaced(text: str) -> str:
    """The text as a tokenizer writes it back: one space between words, none at the ends."""
    return " ".join(text.split())


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The label ids of each text: its tokens and eos, no bos (TrOCR's decoder starts with eos itself)."""
    if not texts:
        return []
    ids = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return [[*row, tokenizer.eos_token_id] for row in ids]


def lead_of(tokenizer: Any, ids: Sequence[int]) -> tuple[int, ...]:
    """The special tokens in front of a text."""
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    count = next((i for i, one in enumerate(ids) if one not in special), 0)
    return tuple(ids[:count])


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
