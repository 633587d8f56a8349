"""Where on a line the words and characters stand, told by the white gaps between its words.

A line of k words has k-1 gaps between words, and in print these are its widest. Where the (k-1)-th widest gap stands
out from the next one, the words are found; within a word the characters are spread by their usual widths. That is
right to about half a character: enough to start an encoder (the loss `ctc`) and to cut words out of lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAINT = 0.3  # the share of the contrast that is ink
STANDS_OUT, LEAST = 1.25, 3  # how much wider a gap between words is than one within, and its least width in pixels
NARROW, WIDE = "ijltfrI.,;:'!|()[]1-", "mwMW"
Ink = NDArray[np.bool_]  # [width]: is there any ink in this column


def ink_of(pixels: NDArray[Any]) -> Ink:
    """Of grey pixels [height, width] the columns that hold ink: what there is less of, dark or light. A border of one
    value, as processors pad with, often black, is none."""
    low, high = float(pixels.min()), float(pixels.max())
    dark = pixels < (low + high) / 2
    differs = dark ^ dark[0, 0]
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    ink = np.zeros(pixels.shape[1], dtype=bool)
    if len(rows):
        place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        light = 2 * np.count_nonzero(dark[place]) > dark[place].size
        edge = (high - low) * FAINT  # thin strokes of small lines are grey
        inside = pixels[place]
        ink[place[1]] = (inside > low + edge if light else inside < high - edge).any(0)
    return ink


def word_spans(ink: Ink, count: int) -> list[tuple[int, int]] | None:
    """(first column, column behind the last) of each of `count` words; None where the gaps do not tell."""
    columns = np.flatnonzero(ink)
    if not len(columns) or not count:
        return None
    first, behind = int(columns[0]), int(columns[-1]) + 1
    widths = np.diff(columns) - 1
    order = np.argsort(-widths, kind="stable")
    if count > 1 and (len(widths) < count - 1 or widths[order[count - 2]] < LEAST):
        return None
    after = widths[order[count - 1]] if len(widths) >= count else 0
    if count > 1 and widths[order[count - 2]] < STANDS_OUT * after:
        return None
    cuts = np.sort(order[: count - 1])
    starts = [first, *(int(columns[cut + 1]) for cut in cuts)]
    ends = [*(int(columns[cut]) + 1 for cut in cuts), behind]
    return list(zip(starts, ends, strict=True))


def middles(ink: Ink, text: str) -> NDArray[np.float64] | None:
    """[len(text)] the column of each character's middle, a space's in its gap; None where the gaps do not tell."""
    words = text.split(" ")
    spans = word_spans(ink, len(words))
    if spans is None or not all(words):
        return None
    places: list[float] = []
    for number, (word, (start, end)) in enumerate(zip(words, spans, strict=True)):
        if number:
            places.append((spans[number - 1][1] + start) / 2)
        share = np.array([_width(character) for character in word])
        places.extend(start + (np.cumsum(share) - share / 2) / share.sum() * (end - start))
    return np.array(places)


def token_marks(ink: Ink, pieces: Sequence[str]) -> NDArray[np.float64]:
    """[len(pieces)] the share of the image's width where each piece of a tokenizer has its middle; NaN where it is not
    known. A piece without a character, as the space that a sentencepiece model puts in front, has none."""
    marks = np.full(len(pieces), np.nan)
    # of byte-level pieces (RoBERTa's), where no sentencepiece model has put its own sign in front
    sign = "▁" if any("▁" in piece for piece in pieces) else "Ġ"
    shown = [piece.replace(sign, " ") for piece in pieces]
    text = "".join(shown)
    front = len(text) - len(text.lstrip(" "))
    found = middles(ink, text[front:])
    if found is None:
        return marks
    at = -front
    for number, piece in enumerate(shown):
        inside = found[max(at, 0) : max(at + len(piece), 0)]
        if len(inside):
            marks[number] = (inside.mean() + 0.5) / len(ink)
        at += len(piece)
    return marks


def _width(character: str) -> float:
    if character in NARROW:
        return 0.6
    return 1.5 if character in WIDE else 1.25 if character.isupper() else 1.0
