"""`OcrTask`: transcribed lines and how they become batches."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from textkd.errors import Collector, Problem, TextkdError, fail, problem
from textkd.tasks.ocr import form as forms
from textkd.tasks.ocr import left_out, notes
from textkd.tasks.ocr.augment import augment as augmented
from textkd.tasks.ocr.fitting import model_token
from textkd.tasks.ocr.generate import Generation
from textkd.tasks.ocr.linetable import LineTable
from textkd.tasks.ocr.output import LineTexts
from textkd.tasks.ocr.processor import encode_texts, line_processor, load_processor
from textkd.tasks.ocr.rows import LineCollator, LineRows, Lines
from textkd.tasks.ocr.sources import Spec, lines
from textkd.tasks.ocr.splits import Chosen, hold_out
from textkd.tasks.task import Task

# what `height`, `width`, `tokenizer` and `vocab_size` are by default
USUAL: dict[str, Any] = {"height": 32, "width": 1024, "kind": "char", "vocab_size": None}


class OcrTask(Task):
    """Text recognition on images of lines with a `VisionEncoderDecoderModel`. Data is read on first use.

    `textkd.tasks.ocr` makes one. Its splits are "train", "eval", and further "eval_NAME"; its output is `LineTexts`.

    Args:
        sources: the lines of each split, as of `textkd.tasks.ocr.sources.lines`.
        processor: a folder, a hub id or a `TrOCRProcessor`; None: one that is trained on the train texts, or a
            teacher's.
        shape: those options of `line_processor` that are given: height, width, kind, vocab_size, characters.
        strength: how strongly train images are degraded; 0: not at all.
        generation: how texts are generated; None: greedily.
        holdout: (fraction, seed) of the train lines that become the eval split.
        seed: of the degrading.
        skip_unwritable: train lines with characters that the tokenizer lacks are left out instead of an error.
        skip_long: so are those with too many tokens.
        name: for reports and messages.

    Example:
        >>> task = OcrTask({"eval": "lines.parquet"}, strength=0.0)
        >>> task.splits, task.augments, task.generation.num_beams
        (('eval',), False, 1)
    """

    output: LineTexts
    default_length = 512  # tokens per row, fewer where a decoder has fewer positions

    def __init__(
        self, sources: Mapping[str, Spec], *, processor: Any = None, shape: Mapping[str, Any] | None = None,
        strength: float = 1.0, generation: Generation | None = None, holdout: tuple[float, int] | None = None,
        seed: int = 0, skip_unwritable: bool = False, skip_long: bool = False, name: str = "ocr",
    ) -> None:  # fmt: skip
        self.name, self.sources, self.holdout = name, dict(sources), holdout
        self.output = LineTexts(name, generation)
        self.strength, self.seed = strength, seed
        self.shape, self.skip_unwritable, self.skip_long = dict(shape or {}), skip_unwritable, skip_long
        self._processor = self._given = processor
        self._tables: dict[str, LineTable] = {}
        self._notes: dict[str, list[str]] = {}
        self._lead: tuple[int, ...] = ()  # ids before each text in the labels
        self._forms: list[str] = []  # what is to be told of them

    def __repr__(self) -> str:
        return f"OcrTask({self.name!r}, splits={list(self.splits)})"

    @property
    def splits(self) -> tuple[str, ...]:
        return (*self.sources, "eval") if self.holdout else tuple(self.sources)

    @property
    def generation(self) -> Generation:
        """How texts are generated."""
        return self.output.settings

    @property
    def augments(self) -> bool:
        return self.strength > 0

    @property
    def processor(self) -> Any:
        """The `TrOCRProcessor`: the one that was given (loaded, if by path), or one trained on the train texts."""
        if self._processor is None:
            texts = [text for text in self.table("train").texts if text is not None]
            self._processor = line_processor(texts, **{**USUAL, **self.shape})
        elif isinstance(self._processor, str | Path):
            self._processor = load_processor(self._processor)
        return self._processor

    def processing(self, path: str) -> Any:
        """The processor that was given, else the one in a teacher's folder `path`, else (no path) `processor`."""
        if self._given is None and path:
            self._processor = load_processor(path)
        return self.processor

    def unused(self, path: str) -> list[Problem]:
        """The size of images and the tokenizer, where a folder says both."""
        if self._given is not None or not path:
            return []
        what, fix = f"the processor of {path} has its own size and tokenizer", "leave it out, or processor: FOLDER"
        return [problem(f"{name}: {self.shape[key]!r}", what, fix=fix, where=name)
                for key, name in ((key, "tokenizer" if key == "kind" else key) for key in self.shape)]  # fmt: skip

    def suit(self, models: Mapping[str, Any], given: Collection[str], processor: Any) -> None:
        """Finds the form of labels that the teachers were trained with, see `textkd.tasks.ocr.form`."""
        suited = forms.suited(self.table("eval"), models, given, lambda model: self.collator(processor, model))
        self._lead, self._forms = suited

    def table(self, split: str) -> LineTable:
        """The lines of a split. Raises `TextkdError` for an unknown split and for data that cannot be read."""
        if split not in self.splits:
            fix = f"give {split}:" if split in ("train", "eval") else ""
            raise fail(f"split {split!r} of {self.name}", f"it has {', '.join(self.splits)}", near=(split, self.splits),
                       fix=fix)  # fmt: skip
        if split not in self._tables:
            if self.holdout and split in ("train", "eval"):
                self._tables["train"], self._tables["eval"] = hold_out(lines(self.sources["train"]), *self.holdout)
            else:
                self._tables[split] = lines(self.sources[split])
        return self._tables[split]

    def problems(self, splits: Collection[str] | None = None) -> None:
        """Reads `splits` (all by default) and the given processor, and raises one `TextkdError` with everything that
        is wrong: missing files and columns, damaged images, eval lines without transcription."""
        collector = Collector()
        for split in splits or self.splits:
            with collector.collecting(self._place(split)):
                table = self.table(split)
                table.problems()
                if bare := sum(text is None for text in table.texts) * (split != "train"):
                    raise fail(f"a transcription of every line of {split}", f"{bare:,} of {len(table):,} have none")
        if isinstance(self._processor, str | Path):
            with collector.collecting("processor"):
                _ = self.processor
        collector.raise_any()

    def _place(self, split: str) -> str:
        """Where the lines of a split stand among the options."""
        if self.holdout and split == "eval":
            return "train"
        return split if split in ("train", "eval") else f"extra_evals.{split.removeprefix('eval_')}"

    def load(self, split: str) -> Lines:
        """The split as rows of image (RGB), text and example_id (row number), nothing left out."""
        return Lines(self.table(split))

    def encode(
        self,
        processor: Any,
        split: str,
        model_inputs: Collection[str] = (),
        max_length: int = default_length,
        training: bool | None = None,
    ) -> LineRows:
        """The split as `LineRows`.

        In training, images are augmented and lines without transcription are left out; `warnings()` tells how many.
        Otherwise every line stays, labels are cut for the loss alone (the text stays whole for the metrics), and lines
        without transcription have no labels.

        Args:
            processor: the `TrOCRProcessor`.
            split: one of `splits`.
            model_inputs: not looked at: a batch of lines has the same columns for every model.
            max_length: the most ids of a label, eos counted in. With `skip_long`, train lines with more are left out.
            training: whether the rows are to train on; None: whether the split is "train".

        Raises:
            TextkdError: train texts that the tokenizer cannot write (unless `skip_unwritable`) or that are longer
                (unless `skip_long`); no line left.
        """
        table, tokenizer = self.table(split), processor.tokenizer
        training = split == "train" if training is None else training
        labels: list[list[int]] = [[] for _ in table.texts]
        told = [i for i, text in enumerate(table.texts) if text is not None]
        texts = [str(table.texts[i]) for i in told]
        for i, ids in zip(told, encode_texts(tokenizer, texts), strict=True):
            labels[i] = [*self._lead, *ids]
        long = {i for i in told if len(labels[i]) > max_length}
        found = self._notes[split] = list(table.notes)
        shown = f"{self.name} {split}"
        if not training:
            if long:
                longest = max(len(labels[i]) for i in long)
                note = f"{shown}: {len(long):,} texts have more than {max_length} tokens (up to {longest})"
                found.append(f"{note}; metrics count them whole, the loss their first {max_length}")
            found += notes.out_of_reach(tokenizer, texts, shown)
            found += notes.squeezed(table, processor, shown)
            return LineRows(table, [row[:max_length] for row in labels])
        collector, out = Collector(), list[int]()
        with collector.collecting():
            out = left_out.unwritable_texts(tokenizer, texts, [labels[i] for i in told], split, self.skip_unwritable)
        if long and not self.skip_long:
            lengths = {i: len(labels[i]) for i in sorted(long)}
            collector.add(left_out.too_long(table, lengths, max_length))
        collector.raise_any()
        reasons = {
            "have no transcription": set(range(len(table))) - set(told),
            f"have more than {max_length} tokens": long,
            "have characters that are not in the tokenizer": {told[i] for i in out},
        }
        found += [f"{shown}: {len(rows):,} lines {why} and are left out" for why, rows in reasons.items() if rows]
        kept = sorted(set(range(len(table))).difference(*reasons.values()))
        if not kept:
            told_why = ", ".join(f"{len(rows):,} {why}" for why, rows in reasons.items() if rows)
            fix = f"a decoder of {max(map(len, labels))} positions (max_position_embeddings)" if long else "other lines"
            raise fail(f"lines to train on in {table.source}", f"of {len(table):,}, {told_why}", fix=fix)
        change = partial(augmented, strength=self.strength) if self.strength > 0 else None
        return LineRows(table, [labels[i] for i in kept], kept, change, self.seed)

    def collator(self, processor: Any, model: Any = None) -> LineCollator:
        """Rows -> pixel_values, labels, decoder_input_ids, example_id (see `LineCollator`). Texts begin with the start
        token of `model`; where none is given, or its config names none, with eos, as in every TrOCR."""
        return LineCollator(processor, None if model is None else model_token(model, "decoder_start_token_id"))

    def worded(self, rows: LineRows) -> list[str]:
        """The ids of the texts."""
        return ["labels"]

    def raw(self, rows: LineRows) -> list[Any]:
        """The images of encoded rows."""
        return [rows[i]["image"] for i in range(len(rows))]

    def with_file(self, file: str | Path | Mapping[str, Any]) -> OcrTask:
        """This task with the lines of one file (or spec) as its only split, "eval"; columns named as in its own eval or
        train lines."""
        spec: Spec = file
        own = self.sources.get("eval", self.sources.get("train"))
        if isinstance(own, Mapping) and not isinstance(file, Mapping):
            spec = {"path": file, **{key: own[key] for key in ("image", "text") if key in own}}
        options = {"processor": self._given, "shape": self.shape, "generation": self.generation, "name": self.name}
        return OcrTask({"eval": spec}, **options)

    def with_lines(
        self, split: str, indices: Sequence[int] | None = None, texts: Sequence[str | None] | None = None
    ) -> OcrTask:
        """This task with some lines of a split, and with other texts for them: a teacher's, say.

        A processor trained on the train texts stays as it was.

        Args:
            split: one of `splits`.
            indices: the lines that stay, by number; None: all.
            texts: one for each of them; None leaves a line without.
        """
        return self.with_table(split, Chosen(self.table(split), indices, texts))

    def with_table(self, split: str, table: LineTable) -> OcrTask:
        """This task with other lines for a split, or with one split more; its processor is kept as in `with_lines`."""
        twin, known = copy.copy(self), {name: self.table(name) for name in self.splits}
        twin._notes, twin._tables = {}, {**known, split: table}
        twin.sources = dict(self.sources) if split in known else {**self.sources, split: table.source}
        own = known[split].texts if split == "train" and split in known else []
        if self._given is None and any(text is not None for text in own):
            twin._processor = self.processor
        return twin

    def fingerprint(self) -> str:
        """sha256 of the lines of every split and of all settings that change batches or metrics; where files lie does
        not count."""
        settings: dict[str, Any] = {
            "name": self.name,
            "lines": {split: self.table(split).digest() for split in self.splits},
            "processor": {**USUAL, **self.shape} if self._given is None else _content(self.processor),
            "training": [self.strength, self.seed, self.skip_unwritable, *([True] if self.skip_long else [])],
            "generation": self.generation.settings(),
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def warnings(self) -> list[str]:
        """What a reader of the results should know: lines left out, squeezed or with characters that the tokenizer
        lacks, texts and images of eval that stand in train too. Splits that were not encoded yet are, with the task's
        own processor. Reads all splits."""
        for split in self.splits:
            if split not in self._notes:
                try:
                    self.encode(self.processor, split)
                except TextkdError as error:
                    self._notes[split] = [f"{self.name} {split}: {one.found}" for one in error.problems]
        found = [*self._forms, *(note for split in self.splits for note in self._notes[split])]
        if "train" in self.splits:
            for split in self.eval_splits:
                found += notes.leaks(self.table("train"), self.table(split), f"{self.name} {split}")
        return list(dict.fromkeys(found))


def _content(processor: Any) -> list[Any]:
    """What decides a processor's outputs."""
    words = processor.tokenizer.backend_tokenizer.to_str()
    return [processor.image_processor.to_dict(), hashlib.sha256(words.encode()).hexdigest()]
