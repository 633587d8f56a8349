"""Tags in BIO (IOB2): their types, and I- tags that go on nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OUTSIDE = "O"
PLACES = ("B-", "I-")


def type_of(tag: str) -> str | None:
    """The type of B-x and I-x; "" of O; None where the tag is neither."""
    if tag == OUTSIDE:
        return ""
    return tag[2:] if tag[:2] in PLACES and len(tag) > 2 else None


def types_in(tags: Iterable[str]) -> tuple[str, ...]:
    """The types that occur, sorted."""
    return tuple(sorted({found for tag in tags if (found := type_of(tag))}))


def tags_of(types: Sequence[str]) -> tuple[str, ...]:
    """O, then B-x and I-x of every type, in their order: every tag that a sentence may need."""
    return (OUTSIDE, *(f"{place}{kind}" for kind in types for place in PLACES))


def repaired(tags: Sequence[str]) -> tuple[list[str], int]:
    """(tags, how many were changed): an I-x that goes on nothing of its type begins an entity and becomes B-x, as
    seqeval reads it in its default mode. A file in the older IOB1 becomes IOB2."""
    fixed, before, count = [], "", 0
    for tag in tags:
        kind = type_of(tag) or ""
        starts = tag.startswith("I-") and kind != before
        fixed.append(f"B-{kind}" if starts else tag)
        count, before = count + starts, kind
    return fixed, count
