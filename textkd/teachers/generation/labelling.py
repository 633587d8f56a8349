"""Sequence-level distillation: what a teacher reads on images of lines becomes the text that the student learns.

Kim & Rush 2016 (arXiv:1606.07947): the teacher's best beam as the target, or interpolated with the transcriptions.
Gandhi et al. 2023 (Distil-Whisper, arXiv:2311.00430): readings that differ too much from the transcription are left
out. The teacher may be any function from images to texts, also on lines that nobody has transcribed.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from textkd.errors import Collector, TextkdError, fail, problem
from textkd.models.files import at_home
from textkd.teachers.generation.beam import teacher_reader
from textkd.teachers.generation.readings import Lines, Reader, ReadingStore, fingerprint_of

__all__ = ["Filters", "LineSelection", "Lines", "PseudoLabels", "Reader", "apply", "pseudo_labels", "teacher_reader"]


@dataclass(frozen=True)
class PseudoLabels:
    """What a teacher read, line by line. references: the transcriptions (None: there is none)."""

    texts: Sequence[str]
    confidences: Sequence[float]
    references: Sequence[str | None]
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def cer(self) -> list[float | None]:
        """Character error rate of every text against its transcription; None where there is none."""
        import jiwer

        pairs = zip(self.references, self.texts, strict=True)
        return [None if not reference else float(jiwer.cer(reference, text)) for reference, text in pairs]

    def rewritten(self, change: Callable[[str], str]) -> PseudoLabels:
        """The same readings with every text changed: `str.upper` where all transcriptions are upper case."""
        return replace(self, texts=[change(text) for text in self.texts])


@dataclass(frozen=True)
class Filters:
    """Which readings may become targets. min_confidence: 0..1. max_cer: against the transcription, where there is one.
    min_chars, max_chars: of the text. alphabet: characters that the student's tokenizer can write."""

    min_confidence: float | None = None
    max_cer: float | None = None
    min_chars: int = 1
    max_chars: int | None = None
    alphabet: Collection[str] | None = None

    def reason(self, text: str, confidence: float, cer: float | None) -> str:
        """The first filter that the reading does not pass; empty if it passes all."""
        falls = {
            "min_chars": len(text) < self.min_chars,
            "max_chars": self.max_chars is not None and len(text) > self.max_chars,
            "alphabet": self.alphabet is not None and not set(text) <= set(self.alphabet),
            "min_confidence": self.min_confidence is not None and confidence < self.min_confidence,
            "max_cer": self.max_cer is not None and cer is not None and cer > self.max_cer,
        }
        return next((name for name, fell in falls.items() if fell), "")


@dataclass(frozen=True)
class LineSelection:
    """Lines to train on: `indices` into the table, ascending, and the text of each. notes: JSON-ready counts: lines,
    kept, teacher (texts of the teacher), transcription (texts of the table), dropped {filter: count}, mix, seed; cer
    (of all readings of transcribed lines), cer_teacher (of those taken)."""

    indices: list[int]
    texts: list[str]
    notes: dict[str, Any]

    def summary(self) -> str:
        """The notes in one line."""
        notes = self.notes
        dropped = ", ".join(f"{name} {count:,}" for name, count in notes["dropped"].items()) or "none"
        return (f"{notes['kept']:,} of {notes['lines']:,} lines: {notes['teacher']:,} with the teacher's text, "
                f"{notes['transcription']:,} with their transcription; dropped: {dropped}")  # fmt: skip


def pseudo_labels(
    reader: Reader, table: Lines, folder: str | Path, *, fingerprint: str | None = None, shard_size: int = 256
) -> PseudoLabels:
    """Reads every line of `table` and keeps the readings in `folder`/pseudo-<key>.

    The key is made of the reader's fingerprint (or `fingerprint`), the table's digest and shard_size: what was read
    before is not read again, what another teacher read is not taken. Lines are read in shards of shard_size, which
    appear whole or not at all: a killed run goes on with the shards that are missing. With several processes each
    reads its share of the shards and all return the same. Raises `TextkdError` for an empty table, a reader without
    fingerprint, a reader that gives something else than one (text, confidence) a line, and a full disk.
    """
    if shard_size < 1:
        raise fail(f"shard_size {shard_size}", "not a number from 1", fix="shard_size=1 or more")
    if not len(table):
        raise fail("pseudo labels", "a table without lines", fix="give at least one line")
    store = ReadingStore(reader, table, at_home(folder), fingerprint or fingerprint_of(reader), shard_size)
    rows = store.complete()
    references = list(table.texts) if table.texts is not None else [None] * len(table)
    return PseudoLabels([text for text, _ in rows], [sure for _, sure in rows], references, store.folder)


def apply(
    table: Lines, labels: PseudoLabels, filters: Filters | None = None, mix: float = 1.0, seed: int = 0
) -> LineSelection:
    """Chooses the lines to train on and the text of each.

    mix: share of the transcribed lines that take the teacher's text; the others keep their transcription, whatever the
    teacher read. Which ones depends on seed alone, and a larger mix adds lines to those of a smaller one. Lines without
    transcription always take the teacher's text. A line that takes the teacher's text and does not pass the filters is
    dropped: no transcription stands in for it, which a share of 1 would not say.
    Raises `TextkdError` for settings out of range, max_cer where no line has a transcription, and filters that drop
    every text of the teacher.
    """
    filters = filters or Filters()
    _check(table, labels, filters, mix)
    references = labels.references
    taking = _taking(references, mix, seed)
    reasons = {i: filters.reason(labels.texts[i], labels.confidences[i], labels.cer[i]) for i in taking}
    taught = {i for i, reason in reasons.items() if not reason}
    dropped = Counter(reason for reason in reasons.values() if reason)
    if taking and not taught:
        raise _nothing_left(labels, filters, taking, dropped)
    indices = [i for i in range(len(labels)) if i in taught or i not in reasons]
    texts = [labels.texts[i] if i in taught else str(references[i]) for i in indices]
    notes = {
        "lines": len(labels), "kept": len(indices), "teacher": len(taught), "transcription": len(indices) - len(taught),
        "dropped": dict(dropped.most_common()), "mix": mix, "seed": seed,
        "cer": _corpus_cer(labels, range(len(labels))), "cer_teacher": _corpus_cer(labels, sorted(taught)),
    }  # fmt: skip
    return LineSelection(indices, texts, notes)


def _taking(references: Sequence[str | None], mix: float, seed: int) -> list[int]:
    """The lines that take the teacher's text, ascending."""
    written = [i for i, reference in enumerate(references) if reference]
    # a hash, not a generator: the same lines on every version of every library
    written.sort(key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    count = max(round(mix * len(written)), 1) if mix > 0 else 0
    return sorted({*written[:count], *(i for i, reference in enumerate(references) if not reference)})


def _corpus_cer(labels: PseudoLabels, places: Sequence[int]) -> float | None:
    import jiwer

    pairs = [(reference, labels.texts[i]) for i in places if (reference := labels.references[i])]
    return float(jiwer.cer([one for one, _ in pairs], [other for _, other in pairs])) if pairs else None


def _check(table: Lines, labels: PseudoLabels, filters: Filters, mix: float) -> None:
    collector = Collector()
    if len(table) != len(labels):
        found = f"pseudo labels of {len(labels):,} lines and a table of {len(table):,}"
        collector.add(problem("pseudo labels of this table", found, fix="read this table: pseudo_labels(...)"))
    for name, value, most in (("mix", mix, 1.0), ("min_confidence", filters.min_confidence, 1.0),
                              ("max_cer", filters.max_cer, math.inf)):  # fmt: skip
        if value is not None and not 0 <= value <= most:
            collector.add(problem(f"{name} {value}", "out of range", fix=f"a number 0..{most:g}", where=name))
    if filters.min_chars < 1:
        fix = "a text without characters is no target: 1 or more"
        collector.add(problem(f"min_chars {filters.min_chars}", "out of range", fix=fix, where="min_chars"))
    if filters.max_chars is not None and filters.max_chars < filters.min_chars:
        found = f"max_chars {filters.max_chars} below min_chars {filters.min_chars}: no text can pass"
        collector.add(problem("a range of lengths", found, where="max_chars"))
    if filters.max_cer is not None and not any(labels.references):
        fix = "leave max_cer out and filter by min_confidence"
        collector.add(problem(f"max_cer {filters.max_cer}", "no line has a transcription", fix=fix, where="max_cer"))
    collector.raise_any()


def _nothing_left(labels: PseudoLabels, filters: Filters, taking: Sequence[int], dropped: Counter[str]) -> TextkdError:
    cers = [cer for i in taking if (cer := labels.cer[i]) is not None]
    best = f"the highest confidence is {max(labels.confidences[i] for i in taking):.4f}"
    best += f", the lowest CER {min(cers):.4f}" if cers else ""
    why = ", ".join(f"{name} {count:,}" for name, count in dropped.most_common())
    # the alphabet is long, and a least confidence of next to nothing is none
    values = {name: getattr(filters, name) for name in dropped if name != "alphabet"}
    given = ", ".join(f"{name} {value:g}" for name, value in values.items() if value > 1e-6)
    found = f"a filter that drops everything: {len(taking):,} texts of the teacher, dropped by {why}; {best}"
    asked = "pseudo labels that pass the filters" + (f" ({given})" if given else "")
    return fail(asked, found, fix="lower the filters, or see what the teacher reads")
