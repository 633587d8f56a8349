"""What the report shows beside the numbers: layer maps, examples where models differ, lines that models read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from textkd.report import first_edition
from textkd.report.model_result import Strict

# The page stays one file under 2 MB: images of at most 40,000 characters each (the address, not the picture's bytes).
IMAGE_CHARACTERS = 40_000
GALLERY_LINES = 24


class LayerMap(Strict):
    """Which block of `source` learned from which block of `target`, both names of models.

    `pairs` are of (source's block, target's block); block 0 is the embeddings.
    """

    stage: int
    tap: str
    loss: str
    source: str = "student"
    target: str = "teacher"
    pairs: list[Annotated[tuple[int, int], Field(strict=False)]]
    source_blocks: int = Field(ge=0)
    target_blocks: int = Field(ge=0)

    _before = model_validator(mode="before")(first_edition.layer_map)

    @model_validator(mode="after")
    def _inside(self) -> LayerMap:
        for source, target in self.pairs:
            if not (0 <= source <= self.source_blocks and 0 <= target <= self.target_blocks):
                raise ValueError(f"pair ({source}, {target}) names a block that does not exist")
        return self


class Counts(Strict):
    """Evaluated examples by who was right: the student, and the reference that it is compared with."""

    both_right: int = Field(ge=0)
    only_reference: int = Field(ge=0)
    only_student: int = Field(ge=0)
    both_wrong: int = Field(ge=0)

    _before = model_validator(mode="before")(first_edition.counts)


Answer = str | int | float | list[str] | list[int] | list[float]
Probability = float | list[float]


class Example(Strict):
    """One text with its label, what each model said, by its name, and how sure (a probability) it was of that."""

    text_a: str
    text_b: str | None = None
    label: Answer
    said: dict[str, Answer]
    sure: dict[str, Probability] = Field(default={})

    _before = model_validator(mode="before")(first_edition.example)


class Disagreements(Strict):
    """Where the student and its reference (`Results.reference`) differ.

    `counts` is None for regression, where nobody is right or wrong.
    """

    counts: Counts | None = None
    examples: list[Example] = Field(default=[])


class GalleryLine(Strict):
    """One image with its reference and what every model read. `rank` of `lines`: its place by the student's CER."""

    image: str = Field(pattern=r"^data:image/png;base64,[A-Za-z0-9+/]+=*$", max_length=IMAGE_CHARACTERS)
    reference: str
    said: dict[str, str]
    cer: dict[str, float]
    chosen: Literal["good", "median", "worst"]
    rank: int = Field(ge=1)
    lines: int = Field(ge=1)

    _before = model_validator(mode="before")(first_edition.line)

    @model_validator(mode="after")
    def _every_reading_has_its_cer(self) -> GalleryLine:
        if set(self.said) != set(self.cer):
            raise ValueError(f"texts of {sorted(self.said)}, but the CER of {sorted(self.cer)}")
        return self


class Point(Strict):
    """A candidate of a search: what it costs, what its longest training so far reached, whether it meets the budget."""

    name: str
    latency_ms: float
    size_mb: float
    metric: float | None
    steps: int = Field(ge=0)
    fits: bool
    chosen: bool


class Frontier(Strict):
    """The candidates of a search, and its budget in milliseconds and megabytes (None: none was given)."""

    points: list[Point] = Field(min_length=1)
    latency_ms: float | None = None
    size_mb: float | None = None
