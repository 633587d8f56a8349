"""The keys of a recipe that are about texts which a teacher writes. Known without torch, so that a wrong key is told at
once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from textkd.errors import Problem, problem

BLACK_BOX = "recogniser"  # the key
# what a value of a wrong type should have been
EXPECTED = {
    "recogniser": "the path of an .onnx file", "pseudo": "a block: {} for all defaults, or {min_confidence: 0.9}",
    "lines": "a path, {path: ...} or a list of these", "num_beams": "a whole number", "mix": "a number from 0 to 1",
    "min_confidence": "a number from 0 to 1", "max_cer": "a number, such as 0.2", "change": "lower or upper",
}  # fmt: skip


class BlackBox(BaseModel):
    """A teacher that only reads.

    recogniser: an .onnx file of a PP-OCR line recogniser.

    Example:
        >>> BlackBox(recogniser="lines.onnx").is_black_box, BlackBox().is_black_box
        (True, False)
    """

    recogniser: str | None = None

    @property
    def is_black_box(self) -> bool:
        """Whether the teacher is one."""
        return self.recogniser is not None

    def black_box(self) -> Any:
        """The teacher itself.

        Returns:
            A `textkd.Recogniser`.

        Raises:
            TextkdError: the file is not there, or is no recogniser.
        """
        from textkd.teachers.generation.recogniser import Recogniser

        assert self.recogniser is not None
        return Recogniser(self.recogniser)

    def beside(self, where: str, given: Iterable[str]) -> list[Problem]:
        """What is given beside a black box, and cannot be; or that it names no file.

        Args:
            where: the teacher's place in the recipe.
            given: the keys of its block.
        """
        if not (self.recogniser or "").strip():
            asked, fix = f"{where}.{BLACK_BOX}: ''", f"{BLACK_BOX}: lines.onnx; or leave it out, and give path: FOLDER"
            return [problem(asked, "no path of a file", fix=fix, where=f"{where}.{BLACK_BOX}")]
        fix = "leave it out: a recogniser is one file and is used as it is"
        places = [f"{where}.{name}" for name in sorted(set(given) - {BLACK_BOX})]
        return [problem(f"{one} beside {where}.{BLACK_BOX}", "both are given", fix=fix, where=one) for one in places]


class PseudoBlock(BaseModel):
    """The teacher, of several the first, writes the targets, as `textkd.Pseudo` explains.

    lines: a source of lines, as a path, {path: ...} or a list of them, that the teacher reads (default: the task's own
    train lines). num_beams: of a teacher that is a model. mix: the share of the own train lines that take the teacher's
    text. min_confidence: of a text that is taken. max_cer: of one whose line has a transcription. change: lower or
    upper, for transcriptions of one case.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    lines: str | dict[str, Any] | list[Any] | None = None
    num_beams: int = 4
    mix: int | float = 1.0
    min_confidence: int | float | None = None
    max_cer: int | float | None = None
    change: str | None = None

    def beside_black_box(self, where: str) -> list[Problem]:
        """What is given and changes nothing where a black box reads.

        Args:
            where: the block's place in the recipe.

        Returns:
            The problems.

        Example:
            >>> [one.where for one in PseudoBlock(num_beams=2).beside_black_box("pseudo")]
            ['pseudo.num_beams']
            >>> PseudoBlock().beside_black_box("pseudo")
            []
        """
        if "num_beams" not in self.model_fields_set:
            return []
        asked, fix = f"{where}.num_beams: {self.num_beams} beside {BLACK_BOX}", "leave it out"
        return [problem(asked, "a recogniser reads without beams", fix=fix, where=f"{where}.num_beams")]
