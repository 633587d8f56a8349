"""Letters read off the positions of an encoder, in their order."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import fill, widen
from textkd.losses.modules import Linear, options_of, width_of
from textkd.losses.options import Fraction, Range
from textkd.losses.registry import register
from textkd.losses.shapes import Shape
from textkd.models.conventions import IGNORED

log = logging.getLogger("textkd")


@register(
    "ctc",
    family="hidden",
    source="Graves et al. 2006, doi:10.1145/1143844.1143891; beside a decoder: Kim et al. 2017, arXiv:1609.06773",
    formula="mean over rows of -log p(labels | positions) / number of labels, over all alignments in order",
    needs=("progress", "marks"),
    needs_teacher=False,
    per="row",
    tokens=True,
)
class ConnectionistTemporal(nn.Module):
    """Connectionist temporal classification of the labels by an encoder's positions; needs no teacher.

    It shows an encoder what it looks at long before a decoder has found out where to look.

    hidden [B,T,H], whose positions run along the line (column patches); labels [B,L], -100 = none; mask [B,T]. A
    linear head of its own (H -> frames x (vocabulary + 1), after a layer norm) is trained with the model and thrown
    away at its end. frames: how many symbols a position can read; labels need as many frames as they are, one more
    where a symbol repeats. Rows whose labels do not fit are left out, with a warning.

    From random weights CTC stays for long where all is blank. So during the first share `marked` of the training the
    frames also learn, by cross entropy, the label whose mark they hold; that part fades out linearly. marks [B,L]:
    where in the image a label stands, share of its width, NaN where not known; rows without marks have CTC alone.
    marked 0 switches it off. Scalar.
    """

    def __init__(
        self, student: Shape, labels: Shape, *, frames: Annotated[int, Range(1, 16)] = 2, marked: Fraction = 0.3,
        vocabulary: int | None = None, grid: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if vocabulary is None:
            raise fail("the loss ctc", "the model has no vocabulary", fix="it is for models that write text")
        if grid is not None and grid.height > 1:
            fix = "an encoder with patches of the image's height, as patch_size: [32, 8]"
            raise fail("the loss ctc", f"{grid}, which do not run along the line", fix=fix)
        width = width_of(student, "ctc")
        self.frames, self.marked, self.blank = frames, marked, vocabulary
        self._told = self._fitted = False  # warned already; some row had room for its labels
        self.special = 0 if grid is None else grid.special
        self.norm = nn.LayerNorm(width)
        self.head = Linear(width, frames * (vocabulary + 1))

    def extra_repr(self) -> str:
        return options_of(self, "frames", "marked")

    def forward(
        self, student: Tensor, labels: Tensor, mask: Tensor | None = None, *, progress: float, marks: Tensor
    ) -> Tensor:
        student = student[:, self.special :]
        if mask is None:
            mask = student.new_ones(student.shape[:2], dtype=torch.bool)
        scores = self._scores(*_in_front(student, mask))
        fading = 0.0 if self.marked == 0 else max(0.0, 1 - progress / self.marked)
        value = self._aligned(scores, labels, mask)
        if fading == 0:
            return value
        return (1 - 0.8 * fading) * value + fading * self._at_marks(scores, labels, marks, mask)

    def _aligned(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """CTC: over all alignments."""
        targets, valid = _in_front(labels, labels != IGNORED)
        frames, counts = mask.sum(1) * self.frames, valid.sum(1)
        again = (targets[:, 1:] == targets[:, :-1]) & valid[:, 1:]
        fits = (counts > 0) & (counts + again.sum(1) <= frames)
        self._tell(fits)
        values = F.ctc_loss(scores, targets, frames, counts, self.blank, reduction="none", zero_infinity=True)
        return (torch.where(fits, values, 0.0) / counts.clamp(min=1)).sum() / fits.sum().clamp(min=1)

    def _at_marks(self, scores: Tensor, labels: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """Cross entropy of the two frames around each mark; frames without a label are not counted."""
        counts = (mask.sum(1) * self.frames)[:, None]
        known = (labels != IGNORED) & ~marks.isnan()
        places = (torch.where(known, marks, 0.0) * counts).long().clamp(min=0)
        targets = labels.new_full((len(labels), len(scores) + 1), IGNORED)  # the last column catches the rest
        for shift in (1, 0):
            at = places - shift
            at = torch.where(known & (at >= 0) & (at < counts), at, len(scores))
            targets.scatter_(1, at, torch.where(known, labels, IGNORED))
        targets = targets[:, : len(scores)]
        found = targets != IGNORED
        picked = scores.transpose(0, 1).gather(2, torch.where(found, targets, 0)[:, :, None]).squeeze(2)
        return -torch.where(found, picked, 0.0).sum() / found.sum().clamp(min=1)

    def _scores(self, student: Tensor, mask: Tensor) -> Tensor:
        """Log-probabilities [frames, B, vocabulary + 1]."""
        hidden = self.norm(fill(widen(student), mask))
        scores: Tensor = self.head(hidden).view(len(student), -1, self.blank + 1)
        return scores.log_softmax(-1).transpose(0, 1)

    def _tell(self, fits: Tensor) -> None:
        if bool(fits.all()):
            self._fitted = True
            return
        if not bool(fits.any()) and not self._fitted:
            fix = "more frames per position, narrower patches, or shorter lines"
            raise fail("ctc", "no row of the first batch has room for its labels", fix=fix)
        self._fitted = True
        if not self._told:
            self._told = True
            log.warning("ctc: some rows have more labels than frames (%s a position); they are left out", self.frames)


def _in_front(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Every row's valid entries first, in their order, zeros behind; and which these are."""
    order = torch.argsort(~valid, dim=1, stable=True)
    valid = valid.gather(1, order)
    index = order.reshape(*order.shape, *([1] * (values.dim() - 2))).expand_as(values)
    return fill(values.gather(1, index), valid), valid
