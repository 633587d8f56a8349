"""What a reader of results on lines should know: leaks, characters out of reach, lines that are squeezed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from textkd.tasks.ocr.linetable import LineTable, spread
from textkd.tasks.ocr.processor import keeping_size, missing_characters, one_spaced

MOST_COMPARED = 4000  # images, about 0.2 ms each
SAMPLE = 200


def leaks(train: LineTable, other: LineTable, shown: str) -> Iterator[str]:
    """Lines of `other` whose text stands in `train` too, and how many of them are the very same image. Short lines
    (a word, a price) share texts without any leak; a shared image is one."""
    ours = {one_spaced(text) for text in train.texts if text is not None}
    same = [i for i, text in enumerate(other.texts) if text is not None and one_spaced(text) in ours]
    if not same:
        return
    note = f"{shown}: {len(same):,} of {len(other):,} texts also stand in train"
    looked = [same[place] for place in spread(len(same), SAMPLE)]
    shared = {one_spaced(other.texts[i] or "") for i in looked}
    there = [i for i, text in enumerate(train.texts) if text is not None and one_spaced(text) in shared]
    known = {_content(train, there[place]) for place in spread(len(there), MOST_COMPARED)}
    images = sum(_content(other, i) in known for i in looked)
    some = f"of {len(looked):,} compared, {images:,}" if len(looked) < len(same) else f"{images:,} of them"
    yield f"{note}, {some} with the very same image (leak)" if images else f"{note}, with other images"


def _content(table: LineTable, index: int) -> bytes:
    image = table.image(index)
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()


def out_of_reach(tokenizer: Any, texts: Sequence[str | None], shown: str) -> Iterator[str]:
    """Characters that the tokenizer cannot write, and white space that it does not keep: both count as errors."""
    given = [text for text in texts if text is not None]
    if lost := missing_characters(tokenizer, given):
        few = ", ".join(f"{char!r} ({count})" for char, count in lost.most_common(8))
        lines = sum(any(char in lost for char in text) for text in given)
        more = ", ..." if len(lost) > 8 else ""
        total = sum(lost.values())
        yield f"{shown}: {total:,} characters in {lines:,} lines are not in the tokenizer, so are errors: {few}{more}"
    if spaced := sum(text != one_spaced(text) for text in given):
        yield f"{shown}: {spaced:,} texts have white space other than single spaces; a model writes single spaces"


def squeezed(table: LineTable, processor: Any, shown: str) -> Iterator[str]:
    """Lines that a processor which keeps the aspect ratio has to shrink below its height (of a sample)."""
    size = keeping_size(processor)
    if size is None:
        return
    height, width = size
    chosen = spread(len(table), SAMPLE)
    ratios = [image.width / image.height for image in map(table.image, chosen)]
    wide = [ratio for ratio in ratios if ratio > width / height]
    lowest = max(2, round(width / max(wide))) if wide else height
    if lowest < height:
        yield (
            f"{shown}: {len(wide)} of {len(ratios)} lines looked at are wider than {width} at height "
            f"{height}; they are shrunk, to {lowest} pixels of height at worst (a larger width keeps them)"
        )
