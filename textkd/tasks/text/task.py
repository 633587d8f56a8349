"""`TextTask`: labelled texts, from files or the hub, and how they become batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value

from textkd.errors import Collector
from textkd.tasks import outputs
from textkd.tasks.data.formats import Table
from textkd.tasks.data.sources import FileSource, Source, file_source, resolve
from textkd.tasks.outputs.by_row import ByRow
from textkd.tasks.outputs.few_rows import drawn
from textkd.tasks.table_task import TableTask
from textkd.tasks.text import tokenized
from textkd.tasks.text.classes import classes_of, told
from textkd.tasks.text.encode import Collator, encode
from textkd.tasks.text.labels import (
    IN_FILE,
    OR_LIST,
    OR_NAME_ALL,
    Classes,
    LabelReader,
    LabelSets,
    Scores,
    Unjudged,
    joined,
    twins,
)
from textkd.tasks.text.rows import Layout, Rows, clean, pick_layout
from textkd.tasks.text.where import select


@dataclass(frozen=True)
class TaskSpec:
    """What a text task is, as data.

    Args:
        name: for reports and messages.
        type: "classification", "regression" or "multi_label".
        layouts: the columns that are read; the first layout whose columns are all there counts.
        metric: (module, config_name) of `textkd.tasks.metrics`.
        metric_names: those of its values that count, the main one first.
        labels: class names in the order of their ids; None: taken from the train data.
        limits: the least and the largest score.
        undefined: labels that mark rows without one.
        separator: between the labels of a cell (multi-label).
        where: {column: value or list of values}: keeps those rows only.
        skip_damaged: rows of a wrong shape are left out, with a note, instead of an error.
        holdout: (fraction, seed) of the train rows that become the eval split.
        limit: (rows, seed) of those that are left to train on.
        headerless: the names of the columns of files without a header (CoLA).

    Example:
        >>> from textkd.tasks import glue
        >>> glue("stsb").spec.limits
        (0.0, 5.0)
    """

    name: str
    type: str
    layouts: tuple[Layout, ...]
    metric: tuple[str, str]
    metric_names: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    limits: tuple[float, float] | None = None
    undefined: tuple[str, ...] = ()
    separator: str = ","
    where: Mapping[str, Any] = field(default_factory=dict)
    skip_damaged: bool = False
    holdout: tuple[float, int] | None = None
    limit: tuple[int, int] | None = None
    headerless: tuple[str, ...] = ()


class TextTask(TableTask):
    """Text classification, regression or multi-label classification; data is read on first use and kept in memory.

    `textkd.tasks.text` and `textkd.tasks.glue` make one.

    Args:
        spec: what the task is.
        sources: where the rows of each split come from: "train", "eval", and further eval splits such as
            "eval_mismatched" of MNLI.

    Example:
        >>> from textkd.tasks import glue
        >>> task = glue("mnli")
        >>> task.splits
        ('train', 'eval', 'eval_mismatched')
        >>> task.labels
        ['entailment', 'neutral', 'contradiction']
    """

    def __init__(self, spec: TaskSpec, sources: Mapping[str, Source]) -> None:
        super().__init__(spec.name, sources, spec.holdout, spec.limit, stratify=spec.type == "classification")
        self.spec = spec
        self._labels = spec.labels
        self._tables: dict[str, Table] = {}
        self.output = self._output()

    def _output(self) -> ByRow:
        spec = self.spec
        judged = spec.name, spec.metric, spec.metric_names
        if spec.type == "regression":
            return outputs.Scores(*judged)
        kind = outputs.LabelSets if spec.type == "multi_label" else outputs.Classes
        return kind(lambda: self.labels or [], *judged)

    @property
    def labels(self) -> list[str] | None:
        """The class names in the order of their ids; None for regression. Raises `TextkdError` as `load` does."""
        if self.spec.type == "regression":
            return None
        if self._labels is None:
            self._labels = classes_of(self.table("train"), self.spec.layouts, self._separator,
                                      str(self.sources["train"]), self.spec.skip_damaged)  # fmt: skip
        return list(self._labels)

    @property
    def _separator(self) -> str | None:
        """Between the labels of a cell, where a row may have several."""
        return self.spec.separator if self.spec.type == "multi_label" else None

    def _reader(self, origin: str) -> LabelReader:
        if self.spec.type == "regression":
            return Scores(self.spec.limits)
        names = tuple(self.labels or ())
        fix = OR_LIST if self.spec.labels else IN_FILE if origin == "train" else OR_NAME_ALL
        return LabelSets(names, self.spec.separator, fix) if self.spec.type == "multi_label" else Classes(names, fix)

    def table(self, split: str) -> Table:
        """The cells of a split, those that `where` asks for."""
        if split not in self._tables:
            source = self.sources[split]
            self._tables[split] = select(source.read(), self.spec.where, str(source))
        return self._tables[split]

    def read(self, origin: str) -> Rows:
        table, source, unknown = self.table(origin), str(self.sources[origin]), Collector()
        reader: LabelReader = Unjudged(self._separator)
        with unknown.collecting():
            reader = self._reader(origin)
        layout, undefined = pick_layout(table, self.spec.layouts, source), frozenset(self.spec.undefined)
        self._tables.pop(origin)  # its rows are kept
        rows = clean(table, layout, reader, source, undefined=undefined, skip_damaged=self.spec.skip_damaged)
        rows.problems = list(dict.fromkeys([*unknown.problems, *rows.problems]))
        return rows

    def load(self, split: str) -> Dataset:
        """The split as text_a, text_b (pairs only), label (id, score, or 0/1 vector) and example_id (row number).

        Args:
            split: one of `splits`.

        Raises:
            TextkdError: with all that is wrong in it.
        """
        return self._dataset(self.rows(split))

    def _dataset(self, rows: Rows) -> Dataset:
        kinds = {"classification": Value("int64"), "regression": Value("float32")}
        label = kinds.get(self.spec.type, List(Value("float32")))
        columns: dict[str, list[Any]] = {"text_a": rows.text_a, "text_b": rows.text_b, "label": rows.label}
        columns["example_id"] = list(range(len(rows.label)))
        features = {"text_a": Value("string"), "text_b": Value("string"), "label": label, "example_id": Value("int64")}
        if not rows.text_b:
            del columns["text_b"], features["text_b"]
        return Dataset.from_dict(columns, features=Features(features))

    def encode(self, processor: Any, split: str, model_inputs: Collection[str], max_length: int = 128) -> Dataset:
        """The split as input_ids, attention_mask, token_type_ids (if in `model_inputs`), labels, example_id, length.

        Nothing is padded and nothing written to disk.

        Args:
            processor: the tokenizer.
            split: one of `splits`.
            model_inputs: the names of what the models' forward takes.
            max_length: tokens per row; pairs are cut longest first.

        Raises:
            TextkdError: with all that is wrong in the split; max_length leaves no room for text.
        """
        return self._encode(self.load(split), processor, split, model_inputs, max_length)

    def few(
        self, processor: Any, split: str, model_inputs: Collection[str], max_length: int, count: int
    ) -> tuple[Dataset, int] | None:
        if self._is_own:
            return None
        rows = self.rows(split)
        some = self._dataset(rows.take(range(min(count, len(rows.label)))))
        return self._encode(some, processor, f"{split} {count}", model_inputs, max_length), len(rows.label)

    def short(
        self, processor: Any, split: str, model_inputs: Collection[str], max_length: int, count: int
    ) -> tuple[Dataset, Sequence[Any]] | None:
        if self._is_own:
            return None
        rows = self.rows(split)
        places = drawn([len(one) + len(other) for one, other in rows.pairs()], count)
        some = self._dataset(rows.take(places))
        return self._encode(some, processor, f"{split} short {count}", model_inputs, max_length), rows.label

    @property
    def _is_own(self) -> bool:
        """Whether this is a task of one's own: its rows are what it makes of them."""
        own = type(self)
        return (own.encode, own.load) != (TextTask.encode, TextTask.load)

    def _encode(
        self, rows: Dataset, processor: Any, which: str, model_inputs: Collection[str], max_length: int
    ) -> Dataset:
        fingerprint, shown = f"{self.fingerprint()} {which}", f"{self.name} {which}"
        return encode(rows, processor, model_inputs, max_length, fingerprint, shown)

    def collator(self, processor: Any, model: Any = None) -> Collator:
        """Pads a list of encoded rows to the longest of them; keeps labels and example_id, drops other columns."""
        return Collator(processor, float_labels=self.spec.type != "classification")

    def with_file(self, file: str | Path) -> TextTask:
        """This task with one labelled file as its only split, "eval".

        Class names stay those of this task; a `where` filter does not apply to the file.

        Args:
            file: with the columns of the task's own files, or (GLUE) text_a, text_b, label.
        """
        path = resolve(file)
        own = [source for source in self.sources.values() if isinstance(source, FileSource)]
        source = next((FileSource(path, s.dialect) for s in own if s.path.suffix == path.suffix), None)
        if source is None:
            headers = tuple(layout.columns for layout in self.spec.layouts)
            source = file_source(path, headerless=self.spec.headerless, headers=headers)
        labels = tuple(self.labels or ()) or None
        return TextTask(replace(self.spec, labels=labels, holdout=None, where={}), {"eval": source})

    def load_file(self, path: str | Path) -> Dataset:
        """One labelled file as `load` gives a split."""
        return self.with_file(path).load("eval")

    def settings(self) -> dict[str, Any]:
        settings = asdict(self.spec)
        if not self.spec.limit:
            del settings["limit"]  # so that what was trained before there was such a key is found again
        return settings

    def doubts(self, processor: Any, max_length: int) -> list[str]:
        """Texts that are cut at `max_length`, words that the tokenizer does not know."""
        return [doubt for split in self.splits for doubt in tokenized.doubts(
            processor, [pair if pair[1] else pair[0] for pair in self.rows(split).pairs()], max_length,
            f"{self.name} {split}")]  # fmt: skip

    def warnings(self) -> list[str]:
        """What a reader of the results should know: rows left out, eval texts that stand in the train split too, empty
        texts, classes that never occur. Reads all splits."""
        rows = {split: self.rows(split) for split in self.splits}
        notes = dict.fromkeys(note for part in rows.values() for note in part.notes)
        for split, part in rows.items():
            if empty := sum(not text.strip() for text in part.text_a):
                notes[f"{self.name} {split}: {empty} empty texts"] = None
            if split != "train" and "train" in rows:
                known = set(rows["train"].pairs())
                if leaked := sum(key in known for key in part.pairs()):
                    notes[f"{self.name} {split}: {leaked} of {len(part.label)} texts also stand in train (leak)"] = None
        if self.spec.type == "classification" and "train" in rows:
            absent = [name for i, name in enumerate(self.labels or []) if i not in set(rows["train"].label)]
            if absent:
                notes[f"{self.name} train: no row of class {', '.join(absent)}"] = None
            if self.spec.labels is None and (found := joined(self.labels or [])):
                what = f"classes {told(found[1])} are made of other classes, joined by {found[0]!r}"
                fix = f"several labels of a cell are read by type: multi_label with label_separator: {found[0]!r}"
                notes[f"{self.name}: {what}; {fix}"] = None
        notes |= {f"{self.name}: classes {names} differ in nothing but case, blanks or encoding; they stay apart": None
                  for names in twins(self.labels or [])}  # fmt: skip
        return list(notes)
