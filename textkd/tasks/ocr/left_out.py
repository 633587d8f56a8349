"""Train texts that a model cannot learn as they are: characters that its tokenizer lacks, more tokens than it has
positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textkd.errors import Problem, fail, problem
from textkd.tasks.ocr.linetable import LineTable
from textkd.tasks.ocr.processor import missing_characters, unwritable


def unwritable_texts(
    tokenizer: Any, texts: Sequence[str], labels: Sequence[Sequence[int]], split: str, skip: bool
) -> list[int]:
    """The places of texts with characters that the tokenizer lacks. labels: of the texts, with their eos. Raises
    `TextkdError` where there are some, unless they are to be skipped."""
    out = unwritable(tokenizer, texts, [row[:-1] for row in labels])
    if out and not skip:
        lost = missing_characters(tokenizer, [texts[i] for i in out])
        few = ", ".join(f"{char!r} ({count})" for char, count in lost.most_common(12)) or repr(texts[out[0]])
        found = f"{len(out):,} of {len(texts):,} texts of {split} hold others: {few}"
        fix = "a processor trained on these texts, or task.skip_unwritable: true to leave such lines out"
        raise fail("characters that the tokenizer can write", found, fix=fix)
    return out


def too_long(table: LineTable, lengths: Mapping[int, int], most: int) -> Problem:
    """What is wrong with lines of more than `most` tokens: their places -> tokens."""
    few = ", ".join(table.where(i).removeprefix(f"{table.source}, ") for i in list(lengths)[:5])
    found = f"{len(lengths):,} of {len(table):,} lines of {table.source} have more, up to {max(lengths.values())}"
    fix = "task.skip_long: true leaves them out; or a decoder of more positions (max_position_embeddings, max_length)"
    more = ", ..." if len(lengths) > 5 else ""
    return problem(f"texts of at most {most} tokens", f"{found} ({few}{more})", fix=fix)
