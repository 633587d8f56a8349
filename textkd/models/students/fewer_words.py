"""Tokenizers, and processors that hold one, with some of their pieces alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textkd.models.loading import load_tokenizer, quiet

TOKENIZER = "tokenizer.json"


def trimmed_words(words: Any, ids: Sequence[int]) -> Any:
    """A tokenizer, or a processor of images and texts, that knows only some of its pieces.

    Args:
        words: it is not changed.
        ids: of the pieces that stay: a piece's place is its new id.

    Returns:
        Another one of the same class.
    """
    inner = getattr(words, "tokenizer", None)
    if inner is None:
        return trimmed_tokenizer(words, ids)
    return type(words)(image_processor=words.image_processor, tokenizer=trimmed_tokenizer(inner, ids))


def trimmed_tokenizer(tokenizer: Any, ids: Sequence[int]) -> Any:
    """A tokenizer that has only some of its pieces; normaliser, special tokens and limits stay.

    Args:
        tokenizer: a fast one of transformers. It is not changed.
        ids: of the pieces that stay: a piece's place is its new id.

    Returns:
        A tokenizer of the same class.
    """
    with tempfile.TemporaryDirectory(prefix="textkd-") as place, quiet():
        folder = Path(place)
        tokenizer.save_pretrained(folder)
        told = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
        (folder / TOKENIZER).write_text(json.dumps(_told(told, ids), ensure_ascii=False), encoding="utf-8")
        for other in ("vocab.txt", "vocab.json", "merges.txt", "added_tokens.json"):
            (folder / other).unlink(missing_ok=True)
        made = load_tokenizer(folder)
    made.name_or_path = ""  # it lies nowhere
    return made


def _told(told: dict[str, Any], ids: Sequence[int]) -> dict[str, Any]:
    """What a tokenizer.json says, of these ids alone."""
    places, model = {one: place for place, one in enumerate(ids)}, told["model"]
    if isinstance(model["vocab"], list):  # Unigram: pairs of piece and score, by id
        model["vocab"] = [model["vocab"][one] for one in ids if one < len(model["vocab"])]
        if model.get("unk_id") is not None:
            model["unk_id"] = places[model["unk_id"]]
    else:
        model["vocab"] = {piece: places[one] for piece, one in model["vocab"].items() if one in places}
    if "merges" in model:
        pieces = set(model["vocab"])
        model["merges"] = [pair for pair in model["merges"] if {*parts_of(pair), "".join(parts_of(pair))} <= pieces]
    told["added_tokens"] = [{**one, "id": places[one["id"]]} for one in told["added_tokens"]]
    processor = told.get("post_processor") or {}
    for special in (processor.get("special_tokens") or {}).values():
        special["ids"] = [places[one] for one in special["ids"]]
    for name in ("sep", "cls"):
        if isinstance(processor.get(name), list):
            processor[name] = [processor[name][0], places[processor[name][1]]]
    return told


def parts_of(pair: Any) -> list[str]:
    """The two pieces of a merge of BPE, however it is written."""
    return pair.split(" ") if isinstance(pair, str) else list(pair)
