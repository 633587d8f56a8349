"""Text tasks of one's own: classification, regression, multi-label, from files or a data set of the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from textkd.errors import Collector, Problem, fail, problem
from textkd.tasks.data.encodings import UTF_8, encoding_problems
from textkd.tasks.data.holdout import parts_of
from textkd.tasks.data.sources import HubSource, Source, extra_splits, file_source, lost_files
from textkd.tasks.data.unused import DATA_SET, unused_options
from textkd.tasks.text.labels import BadLabelError, label_text
from textkd.tasks.text.rows import Layout
from textkd.tasks.text.task import TaskSpec, TextTask

METRICS = {
    "classification": ("accuracy", "f1_macro"),
    "regression": ("pearson", "spearmanr", "mse"),
    "multi_label": ("f1_micro", "f1_macro", "subset_accuracy"),
}
SEPARATOR = ","  # between the labels of a cell


def text(
    train: str | Path | None = None,
    eval: str | Path | Mapping[str, Any] | None = None,
    *,
    text: str = "text",
    text_pair: str | None = None,
    label: str | Sequence[str] = "label",
    type: str = "classification",
    labels: Sequence[str | int] | None = None,
    where: Mapping[str, Any] | None = None,
    dataset: str | None = None,
    config: str | None = None,
    splits: Mapping[str, str] | None = None,
    extra_evals: Mapping[str, str | Path] | None = None,
    delimiter: str | None = None,
    quoted: bool | None = None,
    encoding: str = UTF_8,
    label_separator: str = SEPARATOR,
    skip_damaged: bool = False,
    limit: int | Mapping[str, Any] | None = None,
    name: str = "text",
) -> TextTask:
    r"""A text task from files or from a data set of the hub. Data is read on first use (see `TextTask.problems`).

    Args:
        train: a file. The suffix says the format (csv, tsv, json, jsonl, parquet). `package:NAME/inner/path` is a file
            inside an installed Python package.
        eval: a file, or {"fraction": 0.1, "seed": 0}: that part of the train rows, stratified by class.
        text: the column of the text.
        text_pair: the column of the second text, where rows are pairs.
        label: the column of the label; several 0/1 columns make a multi-label task.
        type: classification, regression or multi_label.
        labels: class names in the order of their ids; None: the sorted names of the train data.
        where: {column: value or list of values}: keeps those rows only.
        dataset: a hub id, or a folder (also of `save_to_disk`), in place of files.
        config: its configuration.
        splits: its splits: {"train": "train", "eval": "validation", "eval_test": "test"}; the first two by default.
        extra_evals: {name: file}: finished models are measured on these too, as "eval_NAME".
        delimiter: between columns, where the suffix says another one.
        quoted: whether cells are quoted; None: csv is, tsv is not.
        encoding: of the files, as gb18030.
        label_separator: between the labels of a cell (multi_label).
        skip_damaged: rows of a wrong shape are left out, with a warning, instead of an error.
        limit: so many train rows, drawn at random; or {"rows": 10000, "seed": 0}.
        name: for reports and messages.

    Returns:
        A task with the metrics of its type: accuracy and f1_macro; pearson, spearmanr and mse; f1_micro, f1_macro and
        subset_accuracy.

    Raises:
        TextkdError: with all options that cannot work.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "reviews.csv"
        ...     _ = file.write_text("text,label\na good film,good\na bad film,bad\n")
        ...     task = text(train=file, eval=file)
        ...     task.labels, task.load("train")[0]
        (['bad', 'good'], {'text_a': 'a good film', 'label': 1, 'example_id': 0})
    """
    collector = Collector()
    if type not in METRICS:
        collector.add(
            problem(f"type {type!r}", f"the types are {', '.join(METRICS)}", near=(type, METRICS), where="type")
        )
    _check_labels(collector, type, label, labels)
    collector.add(*(wrong := encoding_problems(encoding)))
    options = {"delimiter": delimiter, "quoted": quoted, "encoding": UTF_8 if wrong else encoding}
    holdout, part = parts_of(collector, eval, limit)
    sources = _hub(collector, dataset, config, splits, holdout) if dataset else {}
    files = {"train": train} if isinstance(eval, Mapping) else {"train": train, "eval": eval}
    for split, path in files.items():
        with collector.collecting(split):
            _add_file(sources, split, path, dataset, options)
    for split, (more, path) in extra_splits(collector, extra_evals).items():
        with collector.collecting(f"extra_evals.{more}"):
            _add_file(sources, split, path, dataset, options)
    collector.add(*unused_options(options, (_kind_of(source) for source in sources.values())))
    collector.add(*_without_effect(dataset, config, splits, label_separator, type, label))
    collector.add(*lost_files(collector, sources))
    collector.raise_any()
    columns = label if isinstance(label, str) else tuple(label)
    spec = TaskSpec(
        name=name,
        type=type,
        layouts=(Layout(text, text_pair, columns),),
        metric=("text_classification", type),
        metric_names=METRICS[type],
        labels=None if labels is None else tuple(str(item) for item in labels),
        where=dict(where or {}),
        separator=label_separator,
        skip_damaged=skip_damaged,
        holdout=holdout,
        limit=part,
    )
    task = TextTask(spec, sources)
    task.output.takes_labels = True
    return task


_text = text  # a parameter below has the same name


def text_of_model(
    model: Any, folder: str, file: str | Path, text: str = "text", text_pair: str | None = None, label: str = "label",
    skip_damaged: bool = False, delimiter: str | None = None, quoted: bool | None = None, encoding: str = UTF_8,
) -> TextTask:  # fmt: skip
    """One labelled file, with the classes of `model`; text, text_pair, label: its columns. skip_damaged: rows of a
    wrong shape are left out. delimiter, quoted, encoding: of the file."""
    names = [str(model.config.id2label[i]) for i in sorted(model.config.id2label)]
    kind = {"regression": "regression", "multi_label_classification": "multi_label"}.get(
        str(model.config.problem_type), "regression" if model.num_labels == 1 else "classification"
    )
    labels = None if kind == "regression" else names
    columns: dict[str, Any] = {"text": text, "text_pair": text_pair, "label": label}
    columns |= {"delimiter": delimiter, "quoted": quoted, "encoding": encoding}
    return _text(file, file, type=kind, labels=labels, skip_damaged=skip_damaged, **columns).with_file(file)


def _check_labels(
    collector: Collector, kind: str, label: str | Sequence[str], labels: Sequence[str | int] | None
) -> None:
    if not label:
        fix = "the name of the column of labels, or several of 0/1 columns"
        collector.add(problem(f"label: {label!r}", "no column", fix=fix, where="label"))
    if not isinstance(label, str) and len(label) > 0 and kind != "multi_label":
        fix = "type: multi_label reads several 0/1 columns"
        collector.add(problem(f"label: {list(label)} for type {kind}", "more than one column", fix=fix, where="label"))
    if labels is None:
        return
    least = 1 if kind == "multi_label" else 2
    if kind == "regression":
        collector.add(
            problem("labels of a regression", "scores have no classes", fix="leave labels: out", where="labels")
        )
    elif not isinstance(labels, list | tuple) or not least <= len(_different(labels)) == len(labels):
        fix = "1, 1.0 and '1' are one name; none is empty"
        what = f"labels: a list of {least} or more different names"
        collector.add(problem(what, repr(labels), fix=fix, where="labels"))
    if not isinstance(label, str) and len(labels) != len(label):
        found = f"{len(labels)} labels for {len(label)} columns"
        collector.add(problem("one name for each label column", found, where="labels"))


def _different(labels: Sequence[Any]) -> set[str]:
    """The labels as cells are read; those that no cell could hold are left out."""
    found = set[str]()
    for label in labels:
        with suppress(BadLabelError):
            found.add(label_text(label))
    return found


def _kind_of(source: Source) -> str:
    return DATA_SET if isinstance(source, HubSource) else source.dialect.kind


def _without_effect(
    dataset: str | None, config: str | None, splits: Any, separator: str, kind: str, label: str | Sequence[str]
) -> list[Problem]:
    """Options that say something of what is not there."""
    found = list[Problem]()
    for name, value in (("config", config), ("splits", splits)):
        if value is not None and not dataset:
            what, fix = "it is about a data set, and the rows are files", "leave it out, or give dataset:"
            found.append(problem(f"{name}: {value!r}", what, fix=fix, where=name))
    if separator != SEPARATOR and (kind != "multi_label" or not isinstance(label, str)):
        what = "it stands between several labels of one cell, and each cell holds one"
        fix = "leave it out, or type: multi_label with one column of labels"
        found.append(problem(f"label_separator: {separator!r}", what, fix=fix, where="label_separator"))
    return found


def _add_file(
    sources: dict[str, Source], split: str, path: str | Path | None, dataset: str | None, options: dict[str, Any]
) -> None:
    if path is not None and dataset:
        fix = "give files or a dataset, not both"
        if split.startswith("eval_"):
            fix = f"splits: {{train: ..., eval: ..., {split}: ...}} names more splits of a data set"
        raise fail(f"{split}: {path}", f"dataset: {dataset} is given too", fix=fix)
    if path is not None:
        sources[split] = file_source(path, **options)
    elif not dataset:
        fix = "give a file" + (", or eval: {fraction: 0.1, seed: 0}" if split == "eval" else ", or dataset:")
        raise fail(f"a file of {split} rows", "none", fix=fix)


def _hub(
    collector: Collector, dataset: str, config: str | None, splits: Mapping[str, str] | None, holdout: Any
) -> dict[str, Source]:
    chosen = dict(splits or {"train": "train", "eval": "validation"})
    if holdout and splits and "eval" in splits:
        what, fix = "eval: {fraction: ...} takes the rows out of train", "leave one of the two out"
        collector.add(problem(f"splits.eval: {splits['eval']!r}", what, fix=fix, where="splits.eval"))
    if holdout:
        chosen.pop("eval", None)
    due = {"train"} if holdout else {"train", "eval"}
    if missing := due - set(chosen):
        found = f"splits: {chosen}"
        collector.add(problem(f"the splits {', '.join(sorted(missing))}", found, fix="splits: {train: ..., eval: ...}"))
    return {name: HubSource(dataset, config, split) for name, split in chosen.items()}
