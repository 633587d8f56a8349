"""The words of tokenizers: a large vocabulary takes a while to be read, and is asked for often."""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

_READ: WeakKeyDictionary[Any, tuple[bytes, dict[str, int]]] = WeakKeyDictionary()


def vocabulary(tokenizer: Any) -> dict[str, int]:
    """The ids of a tokenizer's words.

    Args:
        tokenizer: one of transformers.

    Returns:
        {word: id}, to be left as it is. Read once, and again where anything inside was changed since, whatever it was:
        what is inside as text (a fifth of the time that reading takes) is compared. Slow tokenizers are read each time.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from transformers import PreTrainedTokenizerFast
        >>> own = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
        >>> vocabulary(own) is vocabulary(own), own.add_tokens(["b"]), vocabulary(own)["b"]
        (True, 1, 1)
    """
    inner: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not hasattr(inner, "to_str"):
        return dict(tokenizer.get_vocab())
    inside, known = hashlib.blake2b(inner.to_str().encode(), digest_size=16).digest(), _READ.get(tokenizer)
    if known is None or known[0] != inside:
        _READ[tokenizer] = known = inside, tokenizer.get_vocab()
    return known[1]


def ids_of(tokenizer: Any) -> int:
    """How many rows an embedding needs for a tokenizer's words: one more than the largest id.

    Args:
        tokenizer: one of transformers.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from transformers import PreTrainedTokenizerFast
        >>> inner = Tokenizer(models.WordLevel({"a": 0, "b": 7}, unk_token="a"))
        >>> ids_of(PreTrainedTokenizerFast(tokenizer_object=inner))
        8
    """
    return max(vocabulary(tokenizer).values(), default=-1) + 1
