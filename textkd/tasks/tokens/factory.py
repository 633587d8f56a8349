"""`tokens`: a task of tagged words from options, all of them checked before any data is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textkd.errors import Collector, fail, problem
from textkd.tasks.data.encodings import UTF_8, encoding_problems
from textkd.tasks.data.holdout import parts_of
from textkd.tasks.data.sources import extra_splits, lost_files
from textkd.tasks.data.unused import unused_options
from textkd.tasks.tokens.bio import OUTSIDE, tags_of, type_of
from textkd.tasks.tokens.files import TagFiles, tag_files
from textkd.tasks.tokens.schemes import others_of, scheme_of
from textkd.tasks.tokens.task import TokensTask

Files = str | Path | Sequence[str | Path]


def tokens(
    train: Files | None = None,
    eval: Files | Mapping[str, Any] | None = None,
    *,
    word: int | str | None = None,
    tag: int | str | None = None,
    encoding: str = UTF_8,
    labels: Sequence[str] | None = None,
    extra_evals: Mapping[str, Files] | None = None,
    limit: int | Mapping[str, Any] | None = None,
    skip_damaged: bool = False,
    name: str = "tokens",
) -> TokensTask:
    r"""A task that tags words in BIO (IOB2): entities, slots. Data is read on first use (see `TokensTask.problems`).

    json, jsonl and parquet files hold a list of words and one of tags in each row (or, json: the pieces of the Snips
    benchmark). A file with any other suffix holds CoNLL columns: a word a line, columns apart by tabs or spaces, a
    blank line between sentences. `package:NAME/inner/path` is a file inside an installed Python package. I- tags
    without a B- before them begin an entity (a warning counts them).

    Args:
        train: a file or a list of files. None where a model is only evaluated; labels must be given then.
        eval: a file or a list of files, or {"fraction": 0.1, "seed": 0}: that part of the train sentences.
        word: the column of words: a number in CoNLL files (the first by default; -1 is the last), a name elsewhere
            (words or tokens).
        tag: the column of tags: a number in CoNLL files (the last by default), a name elsewhere (tags, ner_tags or
            labels).
        encoding: of the files, as gb18030.
        labels: the types of entities, or every tag in the order of its id; None: the sorted types of the train data.
        extra_evals: {name: files}: finished models are measured on these too, as "eval_NAME".
        limit: so many train sentences, drawn at random; or {"rows": 1000, "seed": 0}.
        skip_damaged: sentences with ragged columns are left out, with a warning, instead of an error.
        name: for reports and messages.

    Returns:
        A task with f1, precision and recall of entities, and the accuracy of tags.

    Raises:
        TextkdError: with all options that cannot work.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "train.conll"
        ...     _ = file.write_text("Ada B-person\nsings O\n\nHello O\n")
        ...     task = tokens(train=file, eval=file)
        ...     task.labels, task.load("train")[0]["words"]
        (('O', 'B-person', 'I-person'), ['Ada', 'sings'])
    """
    collector, sources = Collector(), dict[str, TagFiles]()
    holdout, part = parts_of(collector, eval, limit)
    collector.add(*(wrong := encoding_problems(encoding)))
    given: dict[str, Any] = {"train": train, "eval": None if isinstance(eval, Mapping) else eval}
    extra = extra_splits(collector, extra_evals)
    given |= {split: files for split, (_, files) in extra.items()}
    for split, files in given.items():
        if files is not None:
            with collector.collecting(f"extra_evals.{extra[split][0]}" if split in extra else split):
                sources[split] = tag_files(files, word, tag, UTF_8 if wrong else encoding)
    if eval is None:
        fix = "give a file, or eval: {fraction: 0.1, seed: 0}"
        collector.add(problem("a file of eval sentences", "none", fix=fix, where="eval"))
    if train is None and (labels is None or holdout):
        collector.add(problem("a file of train sentences", "none", fix="give a file", where="train"))
    kinds = [part.dialect.kind for files in sources.values() for part in files.parts]
    collector.add(*unused_options({"encoding": encoding}, kinds, ("encoding",)))
    with collector.collecting("labels"):
        _check(collector, labels)
    collector.add(*lost_files(collector, {split: part for split, files in sources.items() for part in files.parts}))
    collector.raise_any()
    tags = None if labels is None else tuple(labels) if OUTSIDE in labels else tags_of(labels)
    task = TokensTask(sources, labels=tags, holdout=holdout, limit=part, skip_damaged=skip_damaged, name=name)
    task.names_ids = labels is not None and OUTSIDE in labels
    task.output.takes_labels = True
    return task


def _check(collector: Collector, labels: Sequence[str] | None) -> None:
    if labels is None:
        return
    if isinstance(labels, str) or not labels or not all(isinstance(item, str) for item in labels):
        collector.add(problem("labels: a list of types, or of tags with O among them", repr(labels)))
    elif len(set(labels)) < len(labels):
        collector.add(problem("labels: different names", f"{list(labels)}"))
    elif OUTSIDE in labels and (strange := [tag for tag in labels if type_of(tag) is None]):
        fix = "all tags, as [O, B-person, I-person], or the types alone, as [person]"
        if others := others_of(strange):
            fix += f"; {scheme_of(others)} tags are not read, nor models that answer so: write data and labels in BIO"
        collector.add(problem("labels: tags O, B-TYPE and I-TYPE", f"{', '.join(strange)} among them", fix=fix))


def tokens_of_model(
    model: Any, folder: str, file: str | Path, word: str | None = None, tag: str | None = None,
    skip_damaged: bool = False, encoding: str = UTF_8,
) -> TokensTask:  # fmt: skip
    """One tagged file, with the tags of `model`. word, tag: its columns, by number (CoNLL) or name. skip_damaged:
    sentences with ragged columns are left out. encoding: of the file."""
    names = [str(model.config.id2label[i]) for i in sorted(model.config.id2label)]
    if OUTSIDE not in names:
        fix = "set id2label in the model's config.json to the tags that its outputs mean"
        raise fail(f"tags O, B-TYPE and I-TYPE of the model {folder}", f"its labels are {', '.join(names)}", fix=fix)
    return tokens(eval=file, word=word, tag=tag, labels=names, skip_damaged=skip_damaged, encoding=encoding)
