"""The words of tokenizers: a large vocabulary takes a while to be read, and is asked for often."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

_READ: WeakKeyDictionary[Any, tuple[int, dict[str, int]]] = WeakKeyDictionary()


def vocabulary(tokenizer: Any) -> dict[str, int]:
    """The ids of a tokenizer's words.

    Args:
        tokenizer: one of transformers.

    Returns:
        {word: id}, to be left as it is. Read once, and again after words were added.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from transformers import PreTrainedTokenizerFast
        >>> own = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
        >>> vocabulary(own) is vocabulary(own), own.add_tokens(["b"]), vocabulary(own)["b"]
        (True, 1, 1)
    """
    words, known = len(tokenizer), _READ.get(tokenizer)
    if known is None or known[0] != words:
        _READ[tokenizer] = known = words, tokenizer.get_vocab()
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
