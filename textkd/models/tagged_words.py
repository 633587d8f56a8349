"""Words, the pieces that a tokenizer cuts them into, and their tags: plain Python, for training and for the runtime."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


def first_pieces(words: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[int | None]:
    """The word that begins with each piece of a text.

    Args:
        words: of a text, in which one space stands between them.
        spans: where each piece stands in the text: its first character and the one behind its last.

    Returns:
        For each piece the number of the word that begins with it, else None.

    Example:
        >>> first_pieces(["Ada-Maria", "sings"], [(0, 3), (3, 4), (4, 9), (10, 15)])
        [0, None, None, 1]
    """
    starts = [0, *accumulate(len(word) + 1 for word in words)]
    marks, last = list[int | None](), -1
    for start, end in spans:
        # a piece may take the space before its word in: its last character tells the word
        word = bisect_right(starts, end - 1) - 1 if end > start else last
        marks.append(word if word > last else None)
        last = max(last, word)
    return marks


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, last word) of each entity in the tags of a sentence: O, B-x, I-x (E-x and S-x are read too).

    An I- (or E-) that goes on nothing of its type begins an entity, as in seqeval's default mode.

    Args:
        tags: one for each word.

    Example:
        >>> spans(["B-person", "I-person", "O", "B-place"])
        [('person', 0, 1), ('place', 3, 3)]
    """
    found: list[tuple[str, int, int]] = []
    open_kind, start, before = "", 0, "O"
    for i, tag in enumerate([*tags, "O"]):
        place, kind = tag[:1], tag[1:].split("-", 1)[-1] or "_"
        begins = place in "BS" or (place in "IE" and (before in "OES" or kind != open_kind))
        if before != "O" and (begins or place == "O" or before in "ES"):
            found.append((open_kind, start, i - 1))
        if begins:
            start = i
        open_kind, before = kind, place
    return found
