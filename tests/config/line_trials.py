"""For every option of lines of text: lines in which it makes sense, another value, and what is read or written then."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import datasets
import pyarrow.parquet as pq
from ocr_lab import make_reader, processor
from option_lab import WORDS, OptionLab, Options, Seen, Trial, file_of, filled, said, table_of

from textkd import tasks
from textkd.tasks.ocr.generate import Generation, transcribe
from textkd.tasks.ocr.processor import line_processor
from textkd.tasks.ocr.rows import LineCollator
from textkd.tasks.ocr.sources import lines
from textkd.teachers.generation.pseudo_labels import Pseudo, Targets


def of_lines(before: Any, after: Any) -> Trial:
    """The texts and images of two specs."""

    def seen(lab: OptionLab, spec: Any) -> Any:
        return table_of(lines(file_of(lab, spec)))

    return lambda lab: (lab.once(lambda *_: said(seen, lab, before), before), seen(lab, after))


def drawn(kind: str, usual: Options, option: str, value: Any) -> Trial:
    return of_lines({kind: usual}, {kind: {**usual, option: value}})


def of_hub(see: Callable[[OptionLab, Any], Any], before: Any, after: Any) -> Trial:
    """What is seen of two specs where the hub has two data sets, each with two configurations and splits."""

    def trial(lab: OptionLab) -> Seen:
        def load(name: str, config: str | None = None, split: str = "train") -> Any:
            rows = [{**row, "words": row["other"]} for row in pq.read_table(lab.file("lines.parquet")).to_pylist()]
            rows = [{**row, "text": f"{row['text']}{name[-1]}{config}", "label": row["part"]} for row in rows]
            return datasets.Dataset.from_list(rows[:6] if split == "test" else rows)

        with patch.object(datasets, "load_dataset", load):
            return see(lab, before), see(lab, after)

    return trial


def _read_lines(lab: OptionLab, spec: Any) -> Any:
    return table_of(lines(spec))


def _read_texts(lab: OptionLab, options: Options) -> Any:
    task = tasks.text(dataset="@one", splits={"train": "train", "eval": "test"}, **options)
    return vars(task.rows("train"))


PATH, HERE = {"path": "@lines.parquet"}, {"dataset": "one"}
PRINT = {"n": 2, "fonts": "builtin", "strength": 0}
DIGITS = {"n": 3, "height": 16}
LINES: dict[str, Trial] = {
    "lines.path": of_lines(PATH, {"path": "@dev.parquet"}),
    "lines.rendered": of_lines({"rendered": PRINT}, {"rendered": {**PRINT, "seed": 1}}),
    "lines.digits": of_lines({"digits": DIGITS}, {"digits": {**DIGITS, "seed": 1}}),
    "lines.limit": of_lines(PATH, {**PATH, "limit": 3}),
    "lines.seed": of_lines({**PATH, "limit": 3}, {**PATH, "limit": 3, "seed": 1}),
    "lines.repeat": of_lines(PATH, {**PATH, "repeat": 2}),
    "lines.unlabelled": of_lines(PATH, {**PATH, "unlabelled": True}),
    "lines.words": of_lines({"rendered": {**PRINT, "words": [4, 4], "style": "prose"}}, {
        "rendered": {**PRINT, "words": [4, 4], "style": "prose"}, "words": 1}),
    "lines path.image": of_lines(PATH, {**PATH, "image": "scan"}),
    "lines path.text": of_lines(PATH, {**PATH, "text": "other"}),
    "lines path.where": of_lines(PATH, {**PATH, "where": {"part": "1"}}),
    "lines path.delimiter": of_lines({"path": "@l2.csv"}, {"path": "@l2.csv", "delimiter": ";"}),
    "lines path.quoted": of_lines({"path": "@l.tsv"}, {"path": "@l.tsv", "quoted": True}),
    "lines path.encoding": of_lines({"path": "@lg.csv"}, {"path": "@lg.csv", "encoding": "gb18030"}),
    "lines.dataset": of_hub(_read_lines, HERE, {"dataset": "two"}),
    "lines dataset.config": of_hub(_read_lines, HERE, {**HERE, "config": "other"}),
    "lines dataset.split": of_hub(_read_lines, HERE, {**HERE, "split": "test"}),
    "lines dataset.image": of_hub(_read_lines, HERE, {**HERE, "image": "scan"}),
    "lines dataset.text": of_hub(_read_lines, HERE, {**HERE, "text": "words"}),
    "lines dataset.where": of_hub(_read_lines, HERE, {**HERE, "where": {"part": "1"}}),
    "text.config": of_hub(_read_texts, {}, {"config": "other"}),
    "rendered.n": drawn("rendered", PRINT, "n", 3),
    "rendered.seed": drawn("rendered", PRINT, "seed", 1),
    "rendered.texts": drawn("rendered", PRINT, "texts", ["one", "two"]),
    "rendered.fonts": drawn("rendered", PRINT, "fonts", "matplotlib"),
    "rendered.strength": drawn("rendered", PRINT, "strength", 1.0),
    "rendered.words": drawn("rendered", PRINT, "words", [1, 1]),
    "rendered.style": drawn("rendered", PRINT, "style", "receipt"),
    "digits.n": drawn("digits", DIGITS, "n", 4),
    "digits.split": drawn("digits", DIGITS, "split", "eval"),
    "digits.seed": drawn("digits", DIGITS, "seed", 1),
    "digits.digits": drawn("digits", DIGITS, "digits", [9, 9]),
    "digits.height": drawn("digits", DIGITS, "height", 20),
    "digits.strength": drawn("digits", DIGITS, "strength", 1.0),
}  # fmt: skip


def of_ocr(before: Options, after: Options, length: int = 64) -> Trial:
    """What a training of lines is given: pixels, labels, splits."""

    def seen(lab: OptionLab, options: Options) -> Any:
        small = {} if "processor" in options else {"height": 16, "width": 64}
        given = {"train": lab.words["train"], "eval": lab.words["eval"], "augment": False, **small}
        task = tasks.ocr(**{**given, **filled(lab, options)})
        rows = task.encode(task.processor, "train", (), length)
        batch = task.collator(task.processor)([rows[i] for i in range(2)])
        held = {name: hashlib.sha256(column.numpy().tobytes()).hexdigest() for name, column in batch.items()}
        return held, len(rows), len(task.processor.tokenizer), len(task.table("eval")), task.splits, task.generation

    return lambda lab: (lab.once(lambda *_: said(seen, lab, before), before, length), seen(lab, after))


UNIGRAM = {"tokenizer": "unigram"}
READER = {"processor": "@reader"}
OCR: dict[str, Trial] = {
    "ocr.train": of_ocr({}, {"train": {"path": "@lines.parquet", "text": "other"}}),
    "ocr.eval": of_ocr({}, {"eval": "@lines.parquet"}),
    "ocr.processor": of_ocr({}, READER),
    "ocr.height": of_ocr({}, {"height": 24}),
    "ocr.width": of_ocr({}, {"width": 80}),
    "ocr.tokenizer": of_ocr({}, UNIGRAM),
    "ocr.vocab_size": of_ocr({**UNIGRAM, "vocab_size": 17}, {**UNIGRAM, "vocab_size": 19}),
    "ocr.characters": of_ocr({}, {"characters": "xyz"}),
    "ocr.augment": of_ocr({}, {"augment": 2.0}),
    "ocr.seed": of_ocr({"augment": 2.0}, {"augment": 2.0, "seed": 1}),
    "ocr.generation": of_ocr({}, {"generation": {"num_beams": 2}}),
    "ocr.extra_evals": of_ocr({}, {"extra_evals": {"more": "@dev.parquet"}}),
    "ocr.skip_unwritable": of_ocr({**READER, "train": "@l.csv"}, {
        **READER, "train": ["@l.csv", "@lines.parquet"], "skip_unwritable": True}),
    "ocr.skip_long": of_ocr({}, {"skip_long": True}, length=3),
}  # fmt: skip


def of_reader(before: Options, after: Options) -> Trial:
    """The texts that a reader of random weights generates."""

    def seen(lab: OptionLab, options: Options) -> Any:
        if "reader" not in lab.known:
            task = tasks.ocr(lab.words["train"], lab.words["eval"], processor=processor())
            rows = task.encode(task.processor, "eval")
            lab.known |= {"reader": (make_reader(seed=6), rows, LineCollator(task.processor))}
        model, rows, collator = lab.known["reader"]
        found = transcribe(model, rows, collator, generation=Generation.of(options), scores=False)
        return [one.text for one in found]

    return lambda lab: (lab.once(lambda *_: seen(lab, before), before), seen(lab, after))


BEAMS = {"num_beams": 3}
GENERATION: dict[str, Trial] = {
    "generation.num_beams": of_reader({}, BEAMS),
    "generation.max_new_tokens": of_reader({}, {"max_new_tokens": 2}),
    "generation.length_penalty": of_reader(BEAMS, {**BEAMS, "length_penalty": -9.0}),
    "generation.early_stopping": of_reader(BEAMS, {**BEAMS, "early_stopping": True}),
    "generation.no_repeat_ngram_size": of_reader({}, {"no_repeat_ngram_size": 1}),
    "generation.repetition_penalty": of_reader({}, {"repetition_penalty": 9.0}),
}


class Sure:
    """Reads every other line right, surely, and the rest wrong, not surely."""

    def __init__(self) -> None:
        self.turn = itertools.count()

    def __call__(self, images: Any) -> list[tuple[str, float]]:
        turns = [next(self.turn) for _ in images]
        return [(f"{WORDS[i]}", 0.9) if i % 2 else (f"{WORDS[i]}A", 0.5) for i in turns]

    def fingerprint(self) -> str:
        return "sure"


def of_pseudo(before: Options, after: Options) -> Trial:
    """The texts that a student learns."""

    def seen(lab: OptionLab, options: Options) -> Any:
        own = line_processor([*WORDS, "aA"], height=16, width=64)
        task = tasks.ocr(lab.words["train"], lab.words["eval"], processor=own, augment=False)
        known = lab.folder / "read" / hashlib.sha256(repr(options).encode()).hexdigest()[:8]
        targets = Targets(Pseudo(**options), task, known)
        rows, _ = targets.rows(Sure(), task.processor, (), 16)
        return [rows[i]["labels"] for i in range(len(rows))]

    return lambda lab: (lab.once(lambda *_: seen(lab, before), before), seen(lab, after))


def of_beams(lab: OptionLab, beams: int) -> Any:
    """What a teacher that is a model writes."""
    task = tasks.ocr(lab.words["train"], lab.words["eval"], processor=processor())
    reads = Targets(Pseudo(num_beams=beams), task, lab.folder).reader(make_reader(seed=6), task.processor)
    return reads([task.table("eval").image(i) for i in range(4)])


PSEUDO: dict[str, Trial] = {
    "PseudoBlock.change": of_pseudo({}, {"change": "lower"}),
    "PseudoBlock.num_beams": lambda lab: (of_beams(lab, 1), of_beams(lab, 3)),
    "PseudoBlock.mix": of_pseudo({}, {"mix": 0.5}),
    "PseudoBlock.min_confidence": of_pseudo({}, {"min_confidence": 0.8}),
    "PseudoBlock.max_cer": of_pseudo({}, {"max_cer": 0.1}),
}
