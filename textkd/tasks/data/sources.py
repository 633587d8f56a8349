"""Where the rows of a split come from: a file, a file inside an installed package, or a data set of the hub."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from textkd.errors import Collector, Problem, TextkdError, fail, problem, reading
from textkd.models.files import at_home, in_package, named
from textkd.models.regular import refuse_special
from textkd.tasks.data.formats import SAVED, Dialect, Table, dialect_of, missing, read_table


@dataclass(frozen=True)
class FileSource:
    """One local file."""

    path: Path
    dialect: Dialect

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> Table:
        return read_table(self.path, self.dialect)

    def digest(self) -> str:
        """sha256 of the content; the path does not count, so a copied folder stays the same data."""
        if not self.path.is_file():
            return "missing"
        with self.path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True)
class HubSource:
    """One split of a data set of the Hugging Face hub (or of the local cache of `datasets`)."""

    dataset: str
    config: str | None
    split: str
    fix: str = "reach https://huggingface.co, or read local files"

    def __str__(self) -> str:
        return "/".join(part for part in (self.dataset, self.config, self.split) if part)

    def read(self) -> Table:
        asked = f"split {self.split!r} of the hub's data set {self.dataset!r}"
        with reading(asked, fix=self.fix):
            loaded = load_split(self.dataset, self.config, self.split)
            columns = {name: _named(loaded.features[name], loaded[name][:]) for name in loaded.column_names}
        rows = list(zip(*columns.values(), strict=True))
        return Table(tuple(columns), rows, list(range(1, len(rows) + 1)), unit="row")

    def digest(self) -> str:
        table = self.read()
        return hashlib.sha256(json.dumps([table.names, table.rows], default=str).encode()).hexdigest()


def load_split(dataset: str, config: str | None, split: str) -> datasets.Dataset:
    """One split of a data set of the hub, or of a folder (also of `save_to_disk`): the only call of
    `datasets.load_dataset`.

    Raises:
        TextkdError: it needs a script of its own, which is never run. All other errors are those of `datasets`.
    """
    try:
        folder = at_home(dataset)
        refuse_special(folder, f"the data set {folder}")
        if any((folder / name).is_file() for name in SAVED):
            if config is not None:
                found, fix = "what `save_to_disk` wrote has no configurations", "leave config out"
                raise fail(f"config: {config} of the data set {folder}", found, fix=fix)
            return _saved(folder, split)
        return datasets.load_dataset(os.path.expanduser(dataset), config, split=split)
    except RuntimeError as error:
        if "script" not in str(error):
            raise
        fix = "give its rows as files (parquet, csv, jsonl), or a data set of the hub that holds such files"
        raise fail(
            f"the data set {dataset!r}", "it needs a Python script of its own, which is never run", fix=fix
        ) from error


def _saved(folder: Path, split: str) -> datasets.Dataset:
    """One split of what `save_to_disk` wrote: a data set of several, or a single one, which is called train."""
    saved = datasets.load_from_disk(str(folder))
    splits = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    if split not in splits:
        fix = "name one that it has: splits: {train: ..., eval: ...} (of lines for ocr: split: ...)"
        if "train" in splits:
            fix = f"eval: {{fraction: 0.1, seed: 0}} takes a part of train; or {fix}"
        raise fail(f"split {split!r} of the data set {folder}", f"it has {', '.join(splits)}", near=(split, splits),
                   fix=fix)  # fmt: skip
    return splits[split]


Source = FileSource | HubSource


def file_source(path: str | Path, **dialect: Any) -> FileSource:
    """A file by path; `package:NAME/inner/path` lies inside the installed Python package NAME."""
    where, found = resolve(path), Collector()
    with found.collecting():
        return FileSource(where, dialect_of(where, **dialect))
    if not where.is_file():
        found.add(*missing(where).problems)
    raise TextkdError(*found.problems)


def extra_splits(collector: Collector, given: Mapping[str, Any] | None) -> dict[str, tuple[str, Any]]:
    """`extra_evals: {name: files}` -> {"eval_NAME": (name, files)}; names that no split can have are problems."""
    if given is not None and not isinstance(given, Mapping):
        fix = "extra_evals: {test: FILE}"
        collector.add(problem(f"extra_evals: {given!r}", "no files by name", fix=fix, where="extra_evals"))
        return {}
    for name in given or {}:
        if not str(name).isidentifier():
            fix = "letters, digits and _, such as receipts"
            collector.add(problem(f"the name {name!r}", "no name for a split", fix=fix, where="extra_evals"))
    return {f"eval_{name}": (str(name), files) for name, files in (given or {}).items()}


def lost_files(collector: Collector, sources: Mapping[str, Any]) -> list[Problem]:
    """Files that are not there, beside options that are bad: nothing is read then, which would tell them."""
    lost = [source.path for source in sources.values() if isinstance(source, FileSource) and not source.path.is_file()]
    return [p for path in dict.fromkeys(lost if collector.problems else ()) for p in missing(path).problems]


def resolve(path: str | Path) -> Path:
    """The place of a path on disk. A package is found without importing it (its code need not run). Raises
    `TextkdError` for an empty path, which would be the current folder."""
    shown = named(path)
    if not shown.startswith("package:"):
        return at_home(path)
    places = in_package(shown)
    return next((place for place in places if place.is_file()), places[0])


def _named(feature: Any, values: list[Any]) -> list[Any]:
    """ClassLabel ids as their names, so that labels given in another order still mean the same classes."""
    if not isinstance(feature, datasets.ClassLabel):
        return values
    return [feature.names[v] if v is not None and 0 <= v < len(feature.names) else v for v in values]
