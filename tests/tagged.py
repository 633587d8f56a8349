"""Tagged words for the tests of the task of tokens: small files, and a tokenizer that cuts words into pieces."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tiny_lab import WORDS
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

KINDS = {"film": "thing", "plot": "thing", "actor": "who"}
LINES = "Empire\tB-place\nState\tI-place\nis\tO\n\t\nold\tO\n\n\nBob\tB-who\n"
SENTENCES = [["Empire", "State", "is"], ["old"], ["Bob"]]
TAGS = [["B-place", "I-place", "O"], ["O"], ["B-who"]]


def sentences(count: int, seed: int) -> list[tuple[list[str], list[str]]]:
    """Words with tags by `KINDS`; equal neighbours are one entity."""
    rng, made = random.Random(seed), []
    for _ in range(count):
        words, tags, before = rng.choices(WORDS, k=rng.randint(3, 12)), [], ""
        for word in words:
            kind = KINDS.get(word, "")
            tags.append("O" if not kind else f"{'I' if kind == before else 'B'}-{kind}")
            before = kind
        made.append((words, tags))
    return made


def write(file: Path, rows: list[tuple[list[str], list[str]]]) -> Path:
    blocks = ["".join(f"{word}\t{tag}\n" for word, tag in zip(*row, strict=True)) for row in rows]
    file.write_text("\n".join(blocks), encoding="utf-8")
    return file


def pieces_tokenizer(**settings: Any) -> PreTrainedTokenizerFast:
    """WordPiece over letters: "plot" becomes p ##l ##o ##t."""
    letters = "abcdefghijklmnopqrstuvwxyz."
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    inner = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokens = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **tokens, **settings)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as RoBERTa's BPE has them: a word's first piece holds the space before it."""
    vocab = {piece: i for i, piece in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġc"])}
    inner = Tokenizer(models.BPE(vocab, [("Ġ", "c")]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="!")
