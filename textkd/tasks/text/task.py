"""`Task`: labelled texts, how they become batches, and how predictions on them are judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from transformers import AutoModelForSequenceClassification

from textkd.errors import Collector, fail
from textkd.models.loading import load_tokenizer
from textkd.tasks import metrics
from textkd.tasks.data.formats import Table
from textkd.tasks.data.holdout import draw, hold_out
from textkd.tasks.data.sources import FileSource, Source, file_source, resolve
from textkd.tasks.predict import predict
from textkd.tasks.text.doubts import doubts
from textkd.tasks.text.encode import Collator, encode
from textkd.tasks.text.labels import Classes, LabelReader, LabelSets, Scores, members, names_in
from textkd.tasks.text.rows import Layout, Rows, clean, pick_layout, select

PROBLEM_TYPES = {
    "classification": "single_label_classification",
    "regression": "regression",
    "multi_label": "multi_label_classification",
}


@dataclass(frozen=True)
class TaskSpec:
    """What a task is, as data.

    metric: (module, config_name). labels None: taken from the train data. limits: of a score. undefined: labels that
    mark rows without one. holdout: (fraction, seed) of the train rows that become the eval split. limit: (rows,
    seed) of those that are left to train on.
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


class Task:
    """Text classification, regression or multi-label classification; data is read on first use and kept in memory.

    Attributes: name; problem_type (transformers' word); main_metric, metric_names, greater_is_better;
    auto_class (what builds a model for it);
    splits ("train", "eval", and further eval splits such as "eval_mismatched" of MNLI).
    """

    greater_is_better = True
    auto_class = AutoModelForSequenceClassification
    default_length = 128  # tokens per row

    def __init__(self, spec: TaskSpec, sources: Mapping[str, Source]) -> None:
        self.spec, self.sources = spec, dict(sources)
        self.name, self.problem_type = spec.name, PROBLEM_TYPES[spec.type]
        self.metric_names, self.main_metric = list(spec.metric_names), spec.metric_names[0]
        self._labels = spec.labels
        self._fingerprint = ""
        self._tables: dict[str, Table] = {}
        self._rows: dict[str, Rows] = {}

    def __repr__(self) -> str:
        return f"Task({self.name!r}, splits={list(self.splits)})"

    @property
    def splits(self) -> tuple[str, ...]:
        return (*self.sources, "eval") if self.spec.holdout else tuple(self.sources)

    @property
    def eval_splits(self) -> tuple[str, ...]:
        return tuple(split for split in self.splits if split != "train")

    @property
    def labels(self) -> list[str] | None:
        """The class names in the order of their ids; None for regression. Raises `TextkdError` as `load` does."""
        if self.spec.type == "regression":
            return None
        if self._labels is None:
            self._labels = self._infer_labels()
        return list(self._labels)

    def _infer_labels(self) -> tuple[str, ...]:
        table, source = self._table("train"), str(self.sources["train"])
        label = pick_layout(table, self.spec.layouts, source).label
        if not isinstance(label, str):
            return label
        cells: Iterable[Any] = table.column(label)
        if self.spec.type == "multi_label":
            cells = (m for cell in cells if cell is not None for m in members(cell, self.spec.separator))
        names = names_in(cells)
        if len(names) < 2 and self.spec.type == "classification" and table.rows and not table.damaged:
            fix = "check label: and where:, or give labels: [...]"
            raise fail(
                f"two classes or more in column {label!r} of {source}", f"only {', '.join(names) or 'none'}", fix=fix
            )
        return names

    def _reader(self) -> LabelReader:
        if self.spec.type == "regression":
            return Scores(self.spec.limits)
        names = tuple(self.labels or ())
        return LabelSets(names, self.spec.separator) if self.spec.type == "multi_label" else Classes(names)

    def _table(self, split: str) -> Table:
        if split not in self._tables:
            source = self.sources[split]
            self._tables[split] = select(source.read(), self.spec.where, str(source))
        return self._tables[split]

    def _clean(self, split: str) -> Rows:
        """The rows of a split, with their problems; a table is dropped once it is read."""
        if split not in self.splits:
            raise fail(f"split {split!r} of {self.name}", f"it has {', '.join(self.splits)}", near=(split, self.splits))
        if split in self._rows:
            return self._rows[split]
        origin = split if split in self.sources else "train"
        source = str(self.sources[origin])
        reader = self._reader()
        table = self._table(origin)
        layout = pick_layout(table, self.spec.layouts, source)
        undefined = frozenset(self.spec.undefined)
        rows = clean(table, layout, reader, source, undefined=undefined, skip_damaged=self.spec.skip_damaged)
        self._rows[origin] = rows
        stratify = self.spec.type == "classification"
        if self.spec.holdout and not rows.problems:
            self._rows["train"], self._rows["eval"] = hold_out(rows, *self.spec.holdout, stratify=stratify)
        elif self.spec.holdout:
            self._rows["eval"] = rows
        if self.spec.limit and origin == "train" and not rows.problems:
            self._rows["train"] = draw(self._rows["train"], *self.spec.limit, stratify=stratify)
        self._tables.pop(origin)
        return self._rows[split]

    def problems(self, splits: Collection[str] | None = None) -> None:
        """Reads `splits` (all by default) and raises one `TextkdError` with everything that is wrong in them: missing
        file or column, damaged rows, bytes that are not UTF-8, labels outside the classes, empty data."""
        collector = Collector()
        for split in splits or self.splits:
            with collector.collecting():
                self._load_rows(split)
        collector.raise_any()

    def _load_rows(self, split: str) -> Rows:
        rows = self._clean(split)
        collector = Collector()
        collector.add(*rows.problems)
        collector.raise_any()
        return rows

    def load(self, split: str) -> Dataset:
        """The split as text_a, text_b (pairs only), label (id, score, or 0/1 vector) and example_id (row number)."""
        rows = self._load_rows(split)
        label = {"classification": Value("int64"), "regression": Value("float32")}.get(
            self.spec.type, List(Value("float32"))
        )
        columns: dict[str, list[Any]] = {"text_a": rows.text_a, "text_b": rows.text_b, "label": rows.label}
        columns["example_id"] = list(range(len(rows.label)))
        features = {"text_a": Value("string"), "text_b": Value("string"), "label": label, "example_id": Value("int64")}
        if not rows.text_b:
            del columns["text_b"], features["text_b"]
        return Dataset.from_dict(columns, features=Features(features))

    def encode(self, tokenizer: Any, split: str, model_inputs: Collection[str], max_length: int = 128) -> Dataset:
        """The split as input_ids, attention_mask, token_type_ids (if in `model_inputs`), labels, example_id, length.

        Pairs are cut longest first to `max_length` tokens; nothing is padded and nothing written to disk.
        """
        rows = self.load(split)
        fingerprint = f"{self.fingerprint()} {split}"
        return encode(rows, tokenizer, model_inputs, max_length, fingerprint, f"{self.name} {split}")

    def collator(self, tokenizer: Any) -> Collator:
        """Pads a list of encoded rows to the longest of them; keeps labels and example_id, drops other columns."""
        return Collator(tokenizer, float_labels=self.spec.type != "classification")

    def processing(self, path: str) -> Any:
        """The tokenizer in a teacher's folder."""
        return load_tokenizer(path)

    def predict(self, model: Any, rows: Dataset, collator: Collator) -> np.ndarray[Any, Any]:
        """What `model` says on encoded rows: logits [N, C] in the rows' order."""
        return predict(model, rows, collator)

    def references(self, rows: Dataset) -> np.ndarray[Any, Any]:
        """The labels of encoded rows, as `compute_metrics` takes them."""
        return np.asarray(rows["labels"])

    def decide(self, predictions: Any) -> np.ndarray[Any, Any]:
        """Logits -> decisions: [N, C] -> class ids [N]; [N], [N, 1] -> scores [N]; multi-label [N, C] -> 0/1 [N, C]."""
        values = np.asarray(predictions)
        if values.dtype.kind == "f" and np.isnan(values).any():
            found = f"NaN in {int(np.isnan(values.reshape(len(values), -1)).any(axis=1).sum())} of {len(values)} rows"
            raise fail(
                f"finite predictions on {self.name}",
                found,
                fix="the training diverged: a lower learning rate, bf16 instead of fp16",
            )
        if self.spec.type == "regression":
            return values.reshape(len(values)).astype(np.float64)
        if self.spec.type == "multi_label":
            return (values > 0).astype(np.int64)  # sigmoid above one half
        return values.argmax(axis=-1) if values.ndim == 2 else values.astype(np.int64)

    def compute_metrics(self, predictions: Any, labels: Any) -> dict[str, float]:
        """Logits (see `decide`) and labels [N] or [N, C] -> the metrics by name.

        A correlation that is undefined is 0.0; `doubts` tells of it. Raises `TextkdError` for NaN, for no rows, and
        where predictions and labels differ in number.
        """
        decided, truth = self.decide(predictions), np.asarray(labels)
        if len(decided) != len(truth) or not len(truth):
            raise fail(
                f"one prediction for each label of {self.name}", f"{len(decided)} predictions, {len(truth)} labels"
            )
        truth = truth.astype(np.float64 if self.spec.type == "regression" else np.int64)
        values = metrics.load(*self.spec.metric).compute(predictions=decided, references=truth)
        return {name: float(values[name]) for name in self.metric_names}

    def doubts(self, predictions: Any, labels: Any) -> list[str]:
        """What makes the metrics of these (as in `compute_metrics`) doubtful: one answer for all rows, a correlation
        that is none."""
        return doubts(self.metric_names, self.decide(predictions), np.asarray(labels))

    def model_kwargs(self) -> dict[str, Any]:
        """What `from_pretrained` needs for a head that fits: num_labels, id2label, label2id, problem_type."""
        names = self.labels or ["score"]
        id2label = dict(enumerate(names))
        label2id = {name: number for number, name in id2label.items()}
        return {"num_labels": len(names), "id2label": id2label, "label2id": label2id, "problem_type": self.problem_type}

    def with_file(self, file: str | Path) -> Task:
        """This task with one labelled file as its only split, "eval": the columns of the task's own files, or (GLUE)
        text_a, text_b, label. Class names stay those of this task; a `where` filter does not apply to the file."""
        path = resolve(file)
        own = [source for source in self.sources.values() if isinstance(source, FileSource)]
        source = next((FileSource(path, s.dialect) for s in own if s.path.suffix == path.suffix), None)
        if source is None:
            headers = tuple(layout.columns for layout in self.spec.layouts)
            source = file_source(path, headerless=self.spec.headerless, headers=headers)
        labels = self.labels
        return Task(
            replace(self.spec, labels=tuple(labels) if labels else None, holdout=None, where={}), {"eval": source}
        )

    def load_file(self, path: str | Path) -> Dataset:
        """One labelled file as `load` gives a split."""
        return self.with_file(path).load("eval")

    def fingerprint(self) -> str:
        """sha256 of the data files' content and this task's settings; where the files lie does not count."""
        if self._fingerprint:
            return self._fingerprint
        settings = asdict(self.spec)
        if not self.spec.limit:
            del settings["limit"]  # so that what was trained before there was such a key is found again
        settings["sources"] = {split: source.digest() for split, source in self.sources.items()}
        settings["dialects"] = [asdict(s.dialect) for s in self.sources.values() if isinstance(s, FileSource)]
        self._fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
        return self._fingerprint

    def warnings(self) -> list[str]:
        """What a reader of the results should know: rows left out, eval texts that stand in the train split too, empty
        texts, classes that never occur. Reads all splits."""
        rows = {split: self._load_rows(split) for split in self.splits}
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
        return list(notes)
