"""Texts -> token ids, and rows of token ids -> padded batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Any

import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding

from textkd.errors import fail


def encode(
    rows: Dataset, tokenizer: Any, model_inputs: Collection[str], max_length: int, fingerprint: str, shown: str
) -> Dataset:
    """`rows` (text_a, text_b, label, example_id) -> input_ids, attention_mask, token_type_ids, labels, example_id and
    length (the number of tokens).

    Pairs are cut longest first to `max_length` tokens. token_type_ids only where `model_inputs` asks for them,
    also of tokenizers that leave them out by default: a DistilBERT tokenizer makes right ones for a BERT teacher, and
    RoBERTa's are zeros. All in memory: no cache file that two processes, or two versions, could share.
    """
    check_length(tokenizer, max_length)
    segments = "token_type_ids" in model_inputs

    def to_ids(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        texts = [batch["text_a"], batch["text_b"]] if "text_b" in batch else [batch["text_a"]]
        out = tokenizer(
            *texts,
            truncation="longest_first",
            max_length=max_length,
            return_token_type_ids=segments,
            return_attention_mask=True,
        )
        lengths = [len(ids) for ids in out["input_ids"]]
        return {**out, "labels": batch["label"], "example_id": batch["example_id"], "length": lengths}

    settings = (
        f"{fingerprint} {type(tokenizer).__name__} {tokenizer.name_or_path} {len(tokenizer)} {segments} {max_length}"
    )
    return rows.map(
        to_ids,
        batched=True,
        remove_columns=rows.column_names,
        keep_in_memory=True,
        load_from_cache_file=False,
        new_fingerprint=hashlib.sha256(settings.encode()).hexdigest()[:32],
        desc=f"Tokenizing {shown}",
    )


def check_length(tokenizer: Any, max_length: int, pair: bool = True) -> None:
    """Raises `TextkdError` where no text (or pair) fits `max_length` tokens. What the tokenizer says of its model does
    not count: the positions of the model that is there do."""
    special, of = tokenizer.num_special_tokens_to_add(pair=pair), "a pair" if pair else "a text"
    if max_length <= special:
        raise fail(f"max_length {max_length}", f"{special} places of {of} are special tokens", fix="give 128, say")


class Collator:
    """Rows -> a batch padded to its longest row: input_ids, attention_mask, token_type_ids [B, T]; labels [B] (int64,
    or float32 for scores) or [B, labels] (float32); example_id [B] int64. Other columns (length, texts) stay out."""

    columns = ("input_ids", "attention_mask", "token_type_ids")

    def __init__(self, tokenizer: Any, float_labels: bool) -> None:
        if tokenizer.pad_token is None:
            raise fail("batches of padded rows", "the tokenizer has no pad token", fix="set tokenizer.pad_token")
        self.pad: Callable[[list[dict[str, Any]]], Any] = DataCollatorWithPadding(tokenizer)
        self.label_type = torch.float32 if float_labels else torch.int64

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = dict(self.pad([{name: row[name] for name in self.columns if name in row} for row in features]))
        for name, dtype in (("labels", self.label_type), ("example_id", torch.int64)):
            if name in features[0]:
                batch[name] = torch.stack([torch.as_tensor(row[name], dtype=dtype) for row in features])
        return batch
