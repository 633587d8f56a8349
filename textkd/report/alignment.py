"""Where a read text differs from its reference, character by character: the edits that its CER counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Kind = Literal["same", "added", "missing", "wrong"]
_KINDS: dict[str, Kind] = {"equal": "same", "insert": "added", "delete": "missing", "substitute": "wrong"}


@dataclass(frozen=True)
class Piece:
    """A run of characters of one kind. `text` is what was read (of a missing run, what was not); `instead_of` is the
    reference's text behind a wrong run."""

    kind: Kind
    text: str
    instead_of: str = ""


def align(reference: str, said: str) -> list[Piece]:
    """The fewest edits that make `said` of `reference`, in the order of the text."""
    found = _compared(reference, said)
    before, after = "".join(found.references[0]), "".join(found.hypotheses[0])
    pieces = []
    for chunk in found.alignments[0]:
        kind = _KINDS[chunk.type]
        was = before[chunk.ref_start_idx : chunk.ref_end_idx]
        now = after[chunk.hyp_start_idx : chunk.hyp_end_idx]
        pieces.append(Piece(kind, was if kind == "missing" else now, was if kind == "wrong" else ""))
    return pieces


def errors(pieces: list[Piece]) -> int:
    """How many characters were added, missed or misread."""
    return sum(len(piece.text) for piece in pieces if piece.kind != "same")


def character_error_rate(reference: str, said: str) -> float:
    """Errors divided by the characters of the reference (of an empty one: the errors), as jiwer counts them."""
    return float(_compared(reference, said).cer)


def _compared(reference: str, said: str) -> Any:
    jiwer, characters = _jiwer()
    return jiwer.process_characters(reference, said, characters, characters)


@cache
def _jiwer() -> tuple[Any, Any]:
    # Loaded late: reports of runs that read no images do without it. As in textkd's metric, every character counts as
    # it stands; jiwer's own default would strip white space.
    import jiwer

    return jiwer, jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
