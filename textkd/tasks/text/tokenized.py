"""What a tokenizer makes of the texts of a task: how many are cut, how many words it does not know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

SAMPLE = 200  # texts that are looked at
CUT, UNKNOWN = 0.05, 0.05  # shares from which it is told
LARGEST = 10**6  # tokens; tokenizers without a limit say more


def doubts(tokenizer: Any, texts: Sequence[Any], max_length: int, shown: str) -> list[str]:
    """What is lost of texts on their way to the model.

    Args:
        tokenizer: of the models.
        texts: or pairs of texts, as (first, second); a sample of them, evenly spread, is looked at.
        max_length: tokens per row.
        shown: what they are called, as "train".

    Returns:
        Sentences, none where all is well.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "film": 2}, "[UNK]"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> own = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
        >>> for sentence in doubts(own, ["a film", "ein Film", "a a a a a a a"], 4, "train"):
        ...     print(sentence)
        train: 33% of the texts are longer than max_length 4 and are cut (the longest: 7 tokens); max_length: 7 cuts 0%
        train: 18% of the tokens are [UNK]: words that the tokenizer does not know, which no model can tell apart
    """
    step = max(1, math.ceil(len(texts) / SAMPLE))
    some = [text if isinstance(text, str) else tuple(text) for text in texts[::step]]
    if not some:
        return []
    own = [tokenizer(*([one] if isinstance(one, str) else one), verbose=False)["input_ids"] for one in some]
    found, lengths = list[str](), sorted(map(len, own))
    if (cut := _above(lengths, max_length)) >= CUT:
        enough = lengths[min(len(lengths) - 1, int((1 - CUT) * len(lengths)))]
        limit = min(int(getattr(tokenizer, "model_max_length", LARGEST)), LARGEST)
        better = min(enough, limit)
        help_ = f"; max_length: {better} cuts {_above(lengths, better):.0%}" if better > max_length else ""
        longest = f"the longest: {lengths[-1]} tokens"
        what = f"{cut:.0%} of the texts are longer than max_length {max_length} and are cut ({longest})"
        found.append(f"{shown}: {what}{help_}")
    unknown, special = getattr(tokenizer, "unk_token_id", None), set(getattr(tokenizer, "all_special_ids", ()))
    told = [token for row in own for token in row if token == unknown or token not in special]
    share = sum(token == unknown for token in told) / max(1, len(told))
    if unknown is not None and share >= UNKNOWN:
        found.append(f"{shown}: {share:.0%} of the tokens are {tokenizer.unk_token}: words that the tokenizer does not "
                     "know, which no model can tell apart")  # fmt: skip
    return found


def _above(lengths: Sequence[int], limit: int) -> float:
    return sum(length > limit for length in lengths) / len(lengths)
