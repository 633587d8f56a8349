"""Sentences -> token ids with a label on the first piece of each word, and rows of these -> padded batches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import DataCollatorForTokenClassification

from textkd.errors import fail
from textkd.models.conventions import IGNORED
from textkd.models.tagged_words import first_pieces
from textkd.tasks.text.encode import Collator, check_length


def encode_words(
    tokenizer: Any, words: Sequence[Sequence[str]], labels: Sequence[Sequence[int]], max_length: int,
    model_inputs: Collection[str] = (),
) -> Dataset:  # fmt: skip
    """Sentences of words as token ids, with a label on the first piece of each word.

    The text is the words joined by spaces, cut to `max_length` tokens: a published model that is given such a text
    finds the same pieces.

    Args:
        tokenizer: one that tells where in the text its pieces stand (`is_fast`).
        words: of each sentence.
        labels: of each sentence, an id for each word.
        max_length: tokens per row, special ones counted in.
        model_inputs: the names of what the models' forward takes.

    Returns:
        Rows of input_ids, attention_mask, token_type_ids (if in `model_inputs`), labels, places, example_id and length.
        labels: -100 but on the first piece of each word. places: the words that have a label, by number (not those that
        were cut off, or that the tokenizer makes nothing of).

    Raises:
        TextkdError: the tokenizer cannot tell where its pieces stand; max_length leaves no room for text.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> pieces = Tokenizer(models.WordLevel({"[PAD]": 0, "Ada": 1, "-": 2, "Maria": 3, "sings": 4}, "[PAD]"))
        >>> pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, pad_token="[PAD]")
        >>> encode_words(tokenizer, [["Ada-Maria", "sings"]], [[1, 0]], max_length=8)[0]["labels"]
        [1, -100, -100, 0]
    """
    if not getattr(tokenizer, "is_fast", False):
        fix = "a model with a tokenizer.json"
        raise fail("the word of each piece", f"{type(tokenizer).__name__} does not tell where pieces stand", fix=fix)
    check_length(tokenizer, max_length, pair=False)
    out = tokenizer(
        [" ".join(sentence) for sentence in words], truncation=True, max_length=max_length,
        return_offsets_mapping=True, return_attention_mask=True,
        return_token_type_ids="token_type_ids" in model_inputs,
    )  # fmt: skip
    rows = dict(out)
    marks = [first_pieces(sentence, spans) for sentence, spans in zip(words, rows.pop("offset_mapping"), strict=True)]
    rows["labels"] = [
        [IGNORED if word is None else own[word] for word in row] for row, own in zip(marks, labels, strict=True)
    ]
    rows["places"] = [[word for word in row if word is not None] for row in marks]
    rows["example_id"], rows["length"] = list(range(len(marks))), [len(row) for row in marks]
    return Dataset.from_dict(rows)


class TokenCollator:
    """Makes a batch of encoded rows, padded to its longest row.

    Called with rows it gives input_ids, attention_mask, token_type_ids, labels [B, T] (-100 where there is none) and
    example_id [B]. Other columns stay out.

    Args:
        tokenizer: whose pad token fills the rows.

    Raises:
        TextkdError: the tokenizer has no pad token.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from transformers import PreTrainedTokenizerFast
        >>> pieces = Tokenizer(models.WordLevel({"[PAD]": 0, "Ada": 1}, "[PAD]"))
        >>> collator = TokenCollator(PreTrainedTokenizerFast(tokenizer_object=pieces, pad_token="[PAD]"))
        >>> rows = [{"input_ids": [1, 1], "labels": [1, 0]}, {"input_ids": [1], "labels": [2]}]
        >>> collator(rows)["labels"].tolist()
        [[1, 0], [2, -100]]
    """

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.pad_token is None:
            raise fail("batches of padded rows", "the tokenizer has no pad token", fix="set tokenizer.pad_token")
        self.pad = DataCollatorForTokenClassification(tokenizer, label_pad_token_id=IGNORED)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        wanted = (*Collator.columns, "labels", "example_id")
        return dict(self.pad([{name: row[name] for name in wanted if name in row} for row in features]))
