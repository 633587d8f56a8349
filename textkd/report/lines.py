"""The gallery: real lines with what every model read, chosen by rule, and how the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from textkd.errors import Collector, problem
from textkd.report.alignment import Piece, align, character_error_rate, errors
from textkd.report.evidence import GALLERY_LINES, GalleryLine
from textkd.report.results import Results
from textkd.report.thumbnails import thumbnail
from textkd.report.words import plural, spoken

SHOWN_CHARACTERS = 300
TITLES = {"good": "Lines read best", "median": "Lines in the middle", "worst": "Lines read worst"}


def gallery(
    images: Sequence[Image.Image],
    references: Sequence[str],
    said: Mapping[str, Sequence[str]],
    limit: int = 12,
    student: str = "student",
) -> list[dict[str, Any]]:
    """The rows of `Results.gallery`: lines with what every model read, chosen by the student's CER alone.

    All lines are put in the order of the student's CER, ties as in the data; a third of the limit are the first ones
    ("good"), a third stand around the middle ("median"), the rest are the last ones ("worst"). Only the chosen images
    are read.

    Args:
        images: of the evaluation set, one for each line.
        references: the transcriptions, in the same order.
        said: by model, what it read, in the same order.
        limit: how many lines, 24 at most.
        student: the name of `Compare.student`, which must be among `said`.

    Returns:
        Mappings with the image (a small PNG), the reference, and of every model the text and its CER.

    Raises:
        TextkdError: the student is missing, the numbers of lines differ, or the limit is out of range.

    Example:
        >>> images = [Image.new("L", (32, 16))] * 3
        >>> lines = gallery(images, ["one", "two", "six"], {"student": ["one", "tow", "siy"]}, limit=3)
        >>> [(line["chosen"], line["reference"]) for line in lines]
        [('good', 'one'), ('median', 'six'), ('worst', 'two')]
    """
    _check(len(images), len(references), said, limit, student)
    total = len(references)
    cers = [character_error_rate(*pair) for pair in zip(references, said[student], strict=True)]
    order = sorted(range(total), key=lambda i: (cers[i], i))
    rows = []
    for chosen, places in _places(total, min(limit, total)).items():
        for place in places:
            i = order[place]
            texts = {name: read[i] for name, read in said.items()}
            cer = {name: character_error_rate(references[i], text) for name, text in texts.items()}
            how = {"said": texts, "cer": cer, "chosen": chosen, "rank": place + 1, "lines": total}
            rows.append({"image": thumbnail(images[i]), "reference": references[i], **how})
    return rows


def _places(total: int, limit: int) -> dict[str, range]:
    """Places in the order, from 0: the worst come first in getting one, then the good, then the middle."""
    worst, good, median = (limit + 2) // 3, (limit + 1) // 3, limit // 3
    start = max(good, min((total - median) // 2, total - worst - median))
    return {"good": range(good), "median": range(start, start + median), "worst": range(total - worst, total)}


def _check(images: int, references: int, said: Mapping[str, Sequence[str]], limit: int, student: str) -> None:
    asked, found = "a gallery of lines", Collector()
    if student not in said:
        found.add(problem(asked, f"what {spoken(student)} read is missing", near=(student, said)))
    for name, texts in said.items():
        if len(texts) != references:
            found.add(problem(asked, f"{references} references but {len(texts)} texts of {spoken(name)}"))
    if images != references:
        found.add(problem(asked, f"{references} references but {images} images"))
    if not 1 <= limit <= GALLERY_LINES:
        found.add(problem(asked, f"a limit of {limit}", fix=f"give 1 to {GALLERY_LINES}"))
    found.raise_any()


@dataclass(frozen=True)
class Reading:
    """What one model read: its text in pieces, how many of them are not shown, and its errors in words."""

    model: str
    pieces: list[Piece]
    left_out: int
    nothing: bool
    score: str


@dataclass(frozen=True)
class ShownLine:
    image: str
    place: str
    reference: str
    readings: list[Reading]


def shown(results: Results) -> list[tuple[str, list[ShownLine]]]:
    """The gallery as the page shows it: (title, lines) of the good, the median and the worst."""
    groups = []
    for chosen, title in TITLES.items():
        lines = [_shown(line, list(results.models)) for line in results.gallery if line.chosen == chosen]
        if lines:
            groups.append((title, lines))
    return groups


def rule(results: Results) -> str:
    """How the lines were chosen, in words."""
    total, whose = max((line.lines for line in results.gallery), default=0), f"{spoken(results.compare.student)}'s CER"
    if total <= len(results.gallery):
        return f"Shown are all {plural(total, 'line')} of the evaluation set, in the order of {whose}."
    counts = {name: sum(line.chosen == name for line in results.gallery) for name in TITLES}
    return (
        f"Chosen by rule, not by hand: all {total:,} lines of the evaluation set stand in the order of {whose}, "
        f"ties as in the data; shown are the first {counts['good']}, the {counts['median']} in the middle and the "
        f"last {counts['worst']}."
    )


def _shown(line: GalleryLine, models: list[str]) -> ShownLine:
    readings = [_reading(name, line, line.said[name]) for name in models if name in line.said]
    return ShownLine(line.image, f"place {line.rank:,} of {line.lines:,}", line.reference, readings)


def _reading(model: str, line: GalleryLine, text: str) -> Reading:
    pieces = align(line.reference, text)
    made = errors(pieces)
    score = f"{plural(made, 'error')}, CER {line.cer[model]:.3f}" if made else "no error"
    short, left_out = _clipped(pieces)
    return Reading(model, [_visible(piece) for piece in short], left_out, not text, score)


def _clipped(pieces: list[Piece]) -> tuple[list[Piece], int]:
    """The pieces up to SHOWN_CHARACTERS, and how many characters follow."""
    short: list[Piece] = []
    room, total = SHOWN_CHARACTERS, sum(len(piece.text) for piece in pieces)
    for piece in pieces:
        if room > 0:
            short.append(Piece(piece.kind, piece.text[:room], piece.instead_of[:room]))
            room -= len(piece.text)
    return short, max(0, total - SHOWN_CHARACTERS)


def _visible(piece: Piece) -> Piece:
    """A space that is an error must be seen."""
    if piece.kind == "same":
        return piece
    return Piece(piece.kind, piece.text.replace(" ", "␣"), piece.instead_of.replace(" ", "␣"))
