"""What makes a tokenizer, or a processor of images and texts, this one: a hash of how it reads."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

PLACES = ("name_or_path", "_name_or_path", "tokenizer_file", "vocab_file", "merges_file", "_commit_hash")
_PLACE = re.compile(r"name_or_path='[^']*'")


def hash_of(processor: Any) -> str:
    """A hash that changes with the ids of the words, how texts are cut into them and how images are read.

    Args:
        processor: a tokenizer, or a processor with one. Where it was loaded from does not count.

    Returns:
        16 hex digits.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from transformers import PreTrainedTokenizerFast
        >>> one, other = ({"a": 0, "b": 1}, {"a": 1, "b": 0})
        >>> made = [PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(ids))) for ids in (one, other)]
        >>> hash_of(made[0]) == hash_of(made[1])
        False
    """
    words, pictures = getattr(processor, "tokenizer", processor), getattr(processor, "image_processor", None)
    made_of: list[Any] = [type(words).__name__, _PLACE.sub("", repr(words)), _inside(words)]
    if hasattr(words, "get_vocab"):
        made_of.append(sorted(words.get_vocab().items()))
    if pictures is not None and hasattr(pictures, "to_dict"):
        settings = {key: value for key, value in pictures.to_dict().items() if key not in PLACES}
        made_of.append(json.dumps(settings, sort_keys=True, default=str))
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def _inside(words: Any) -> str:
    """How a fast tokenizer cuts and normalises; not the padding and the length that it was last called with."""
    inner = getattr(words, "backend_tokenizer", None)
    if inner is None:
        return ""
    told = json.loads(inner.to_str())
    return json.dumps({key: value for key, value in told.items() if key not in ("truncation", "padding")})
