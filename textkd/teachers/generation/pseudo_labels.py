"""The teacher writes the targets: sequence-level distillation in a run, also from a black box that only reads."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import nn

from textkd.errors import Collector, Problem, fail, problem
from textkd.models.files import at_home
from textkd.models.processes import locked, processes
from textkd.tasks import OcrTask, Task
from textkd.tasks.ocr.linetable import Joined, LineTable
from textkd.tasks.ocr.options import MOST
from textkd.tasks.ocr.processor import encode_texts, missing_characters, pixels
from textkd.tasks.ocr.sources import lines as lines_of
from textkd.tasks.ocr.splits import Chosen
from textkd.teachers.generation.labelling import (
    Filters,
    LineSelection,
    PseudoLabels,
    Reader,
    apply,
    pseudo_labels,
    teacher_reader,
)

log = logging.getLogger("textkd")
CHANGES: dict[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper}
# a text that was cut off has confidence 0, and so has an empty one: neither is a target
LEAST_CONFIDENCE = 1e-9


@dataclass(frozen=True)
class Pseudo:
    """What a teacher reads becomes what the student learns to write (sequence-level distillation).

    See `textkd.teachers.generation.labelling`. Texts that were cut off and empty ones are never taken.

    Args:
        lines: the lines to read: a spec of `textkd.tasks.ocr.sources.lines` or a `LineTable`. Their own transcriptions
            are not looked at. The student then trains on the task's transcribed train lines and on these. None: the
            teacher reads the task's own train lines.
        num_beams: of a teacher that is a model; 1 is greedy.
        mix: without `lines`: the share (0 to 1) of the lines with a transcription that take the teacher's text. Lines
            without one all do.
        min_confidence: the least confidence (0 to 1) of a text that is taken.
        max_cer: the most character errors, as a share, against the transcription, where there is one. Not with `lines`.
        change: "lower" or "upper" for all that the teacher reads (of a black box also what it is judged by).
        keep: the folder of what was read, for this run and others; None: where fine-tuned teachers are kept.

    Source:
        Kim & Rush 2016, arXiv:1606.07947.

    Example:
        >>> Pseudo(mix=0.5, min_confidence=0.9).problems()
        []
        >>> print(Pseudo(mix=2).problems()[0])
        mix: asked: mix: 2
          found: out of range
          fix: a number from 0 to 1
    """

    lines: Any = None
    num_beams: int = 4
    mix: float = 1.0
    min_confidence: float | None = None
    max_cer: float | None = None
    change: str | None = None
    keep: Path | None = None

    def problems(self) -> list[Problem]:
        """What is wrong with the values themselves, each by its name."""
        found = Collector()
        for name, most in (("mix", 1.0), ("min_confidence", 1.0), ("max_cer", float("inf"))):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                fix = f"a number from 0{f' to {most:g}' if most < 2 else ', such as 0.2'}"
                found.add(problem(f"{name}: {value}", "out of range", fix=fix, where=name))
        if not 1 <= self.num_beams <= MOST["num_beams"]:
            what, fix = f"not a number from 1 to {MOST['num_beams']}", "num_beams: 1 (greedy), or 4, say"
            found.add(problem(f"num_beams: {self.num_beams}", what, fix=fix, where="num_beams"))
        if self.change is not None and self.change not in CHANGES:
            found.add(problem(f"change: {self.change!r}", "no such change", near=(str(self.change), CHANGES),
                              fix=f"one of {', '.join(CHANGES)}", where="change"))  # fmt: skip
        if self.lines is not None and self.mix != 1:
            what = "it chooses among the task's own train lines, and the teacher reads others"
            found.add(problem(f"mix: {self.mix} beside lines", what, fix="leave one of them out", where="mix"))
        if self.lines is not None and self.max_cer is not None:
            what, fix = "the lines are read as if they had no transcription", "filter by min_confidence"
            found.add(problem(f"max_cer: {self.max_cer} beside lines", what, fix=fix, where="max_cer"))
        return found.problems


def is_reader(teacher: Any) -> bool:
    """Whether a teacher is a black box: it reads images and says what reads (`fingerprint`), and is no module."""
    return not isinstance(teacher, nn.Module) and callable(getattr(teacher, "fingerprint", None))


def target_problems(
    pseudo: Pseudo, targets: Targets | None, task: Task, control: bool, finetune: bool, bad_task: bool
) -> list[Problem]:
    """What is wrong with a block `pseudo` for this task, paths as in a recipe. bad_task: its data cannot be read."""
    found = Collector()
    if not isinstance(task, OcrTask):
        fix = "leave pseudo out: {tap: logits} is how a teacher of classes is followed"
        return [problem("pseudo", f"task {task.name} has no lines of text to read", fix=fix, where="pseudo")]
    with found.collecting("pseudo"):
        found.add(*pseudo.problems())
        if targets is not None and pseudo.lines is not None:
            with found.collecting("lines"):
                targets.table.problems()
    if bad_task or targets is None or found.problems:
        return found.problems
    if "train" not in task.splits and pseudo.lines is None:
        fix = "give task.train or pseudo.lines"
        found.add(problem("lines for the teacher to read", "the task has no train lines", fix=fix, where="pseudo"))
    elif not targets.own:
        found.add(*_bare_problems(pseudo, control, finetune))
    return found.problems


def _bare_problems(pseudo: Pseudo, control: bool, finetune: bool) -> list[Problem]:
    """What cannot be where no train line has a transcription."""
    found, bare = Collector(), "no train line has a transcription"
    if control:
        fix = "control: false, or give some transcribed lines as task.train"
        found.add(problem("control: the same student without a teacher", bare, fix=fix, where="control"))
    if finetune:
        fix = "give a trained teacher, or transcribed lines"
        found.add(problem("teacher.finetune", bare, fix=fix, where="teacher.finetune"))
    if pseudo.mix != 1:
        fix = "leave it out: the teacher's texts are all there are"
        found.add(problem(f"mix: {pseudo.mix}", bare, fix=fix, where="pseudo.mix"))
    if pseudo.max_cer is not None:
        fix = "filter by min_confidence"
        found.add(problem(f"max_cer: {pseudo.max_cer}", bare, fix=fix, where="pseudo.max_cer"))
    return found.problems


def targets_of(pseudo: Pseudo | None, task: Task | None, keep: Path) -> Targets | None:
    """The targets of a run; None where the teacher writes none, or (`target_problems` tells) none of this task."""
    return Targets(pseudo, task, keep) if pseudo is not None and isinstance(task, OcrTask) else None


class Targets:
    """The lines that the teacher reads and what the student trains on, for one task. keep: see `Pseudo`."""

    def __init__(self, pseudo: Pseudo, task: OcrTask, keep: Path) -> None:
        self.pseudo, self.task, self.keep = pseudo, task, at_home(pseudo.keep or keep)

    def fingerprint(self, teacher: Any) -> str:
        """What the targets are made of, as far as it is there before anything ran."""
        lines = None if self.pseudo.lines is None else self.table.digest()
        reader = teacher.fingerprint() if is_reader(teacher) else None
        return repr((replace(self.pseudo, lines=lines, keep=None), reader))

    @cached_property
    def table(self) -> LineTable:
        """The lines that the teacher reads. Raises `TextkdError` with what is wrong in their spec."""
        given = self.pseudo.lines
        if given is None:
            return self.task.table("train")
        if isinstance(given, LineTable):
            return Chosen(given, texts=[None] * len(given))
        return lines_of(given, unlabelled=True)

    @property
    def source(self) -> str:
        """What the lines to read are called in a report: files by their names."""
        return " + ".join(Path(part).name for part in self.table.source.split(" + "))

    @cached_property
    def own(self) -> list[int]:
        """The task's train lines with a transcription: what a teacher and the control train on."""
        texts = self.task.table("train").texts if "train" in self.task.splits else []
        return [i for i, text in enumerate(texts) if text is not None]

    def reader(self, teacher: Any, processor: Any) -> Reader:
        """`teacher`, a model or a black box, as a reader. Raises `TextkdError` where it cannot be one."""
        if not isinstance(teacher, nn.Module):
            return teacher  # type: ignore[no-any-return]
        seen = partial(pixels, processor)  # what it is judged on, flat lines too
        return teacher_reader(teacher, processor, self.pseudo.num_beams, pixels=seen)

    def read(self, reader: Reader, table: LineTable) -> PseudoLabels:
        """What the teacher reads in `table`, kept; what was read before is not read again."""
        name = hashlib.sha256(str(reader.fingerprint()).encode()).hexdigest()[:16]  # type: ignore[attr-defined]
        log.info("pseudo labels: of %s lines of %s, kept in %s", f"{len(table):,}", table.source, self.keep)
        with locked(self.keep / f"reading-{name}", wait=True):
            labels = pseudo_labels(reader, table, self.keep)
        change = self.pseudo.change
        return labels if change is None else labels.rewritten(CHANGES[change])

    def evaluated(self, teacher: Reader) -> dict[str, list[str]]:
        """What a black box reads in every evaluation split."""
        return {split: list(self.read(teacher, self.task.table(split)).texts) for split in self.task.eval_splits}

    def rows(self, teacher: Any, processor: Any, inputs: Any, length: int) -> tuple[Any, list[str]]:
        """(encoded rows for the student, notes for the report). length: tokens a row may have."""
        if isinstance(teacher, nn.Module):
            teacher.to(processes().device)
        if len(self._held) == len(self.table):  # before hours of reading
            fix = "give lines that are not evaluated on"
            raise fail(f"lines of {self.table.source} to learn from", "all are evaluation lines", fix=fix)
        labels = self.read(self.reader(teacher, processor), self.table)
        filters = self._filters(labels.texts, processor.tokenizer, length)
        mix = 1.0 if self.pseudo.lines is not None else float(self.pseudo.mix)
        selection = apply(self.table, labels, filters, mix)
        lost = missing_characters(processor.tokenizer, labels.texts).most_common(8)
        few = ", ".join(f"{char!r} ({count})" for char, count in lost)
        lacks = (
            f" (characters that the tokenizer lacks, such as {few}; task.characters adds some)"
            if "alphabet" in selection.notes["dropped"]
            else ""
        )
        notes = [f"pseudo labels from {self.source}: {selection.summary()}{lacks}{_rates(selection)}"]
        selection, told = self._without_eval(selection)
        notes += told
        if self.pseudo.lines is None:
            twin = self.task.with_lines("train", selection.indices, selection.texts)
        else:
            read = Chosen(self.table, selection.indices, selection.texts)
            parts = [Chosen(self.task.table("train"), self.own), read] if self.own else [read]
            twin = self.task.with_table("train", Joined(parts))
        # the task's own texts were looked at before; a reader's may hold anything
        twin.skip_unwritable = twin.skip_long = True
        rows = twin.encode(processor, "train", inputs, length)
        if left := len(twin.table("train")) - len(rows):
            notes.append(f"pseudo labels: {left:,} more lines do not fit the student's tokens and are left out")
        taught = selection.notes["teacher"]
        notes.append(f"the student trains on {len(rows):,} lines, at most {taught:,} of them with the teacher's text; "
                     f"{len(self.own):,} train lines have a transcription")  # fmt: skip
        for note in notes:
            log.info("%s", note)
        return rows, notes

    def _filters(self, texts: Sequence[str], tokenizer: Any, length: int) -> Filters:
        """The recipe's, and what the student can write: its tokenizer's characters, and no text that is longer than
        all that fit its positions."""
        alphabet = set("".join(texts)) - set(missing_characters(tokenizer, texts))
        sizes = zip(texts, encode_texts(tokenizer, texts), strict=True)
        longest = max((len(text) for text, ids in sizes if len(ids) <= length), default=1)
        least = max(self.pseudo.min_confidence or 0.0, LEAST_CONFIDENCE)
        return Filters(least, self.pseudo.max_cer, max_chars=max(longest, 1), alphabet=alphabet)

    @cached_property
    def _held(self) -> set[int]:
        """The lines without transcription whose very image stands in an evaluation split: of the task's own train lines
        with one, `task.warnings()` tells."""
        bare = [i for i, text in enumerate(self.table.texts) if text is None]
        tables = [self.task.table(split) for split in self.task.eval_splits] if bare else []
        held = {_content(table, i) for table in tables for i in range(len(table))}
        return {i for i in bare if _content(self.table, i) in held}

    def _without_eval(self, selection: LineSelection) -> tuple[LineSelection, list[str]]:
        """Without the lines whose very image stands in an evaluation split: nothing trains on those."""
        kept = [i for i, place in enumerate(selection.indices) if place not in self._held]
        out = len(selection.indices) - len(kept)
        if not kept:
            found, fix = "what passes the filters are evaluation lines", "give lines that are not evaluated on"
            raise fail(f"lines of {self.table.source} to learn from", found, fix=fix)
        if not out:
            return selection, []
        indices, texts = [selection.indices[i] for i in kept], [selection.texts[i] for i in kept]
        notes = {**selection.notes, "kept": len(kept), "teacher": selection.notes["teacher"] - out}
        told = f"pseudo labels: {out:,} lines are the very images of evaluation lines and are left out"
        return replace(selection, indices=indices, texts=texts, notes=notes), [told]


def _content(table: LineTable, index: int) -> bytes:
    image = table.image(index)
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()


def _rates(selection: LineSelection) -> str:
    every, taken = selection.notes["cer"], selection.notes["cer_teacher"]
    if every is None:
        return ""
    shown = "" if taken is None else f", {taken:.4f} on the lines that take its text"
    return f"; the teacher's CER is {every:.4f} on all transcribed lines{shown}"
