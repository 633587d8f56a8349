"""Where lines come from: parquet, csv/tsv/json(l) of paths, an image folder, the hub, the generators of this package.

`lines(spec)` makes a `LineTable` of any of them, and of a list of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from textkd.errors import Collector, fail, problem
from textkd.tasks.data.encodings import encoding_problems
from textkd.tasks.data.formats import SUFFIXES
from textkd.tasks.data.sources import resolve
from textkd.tasks.ocr.cut import Cut
from textkd.tasks.ocr.digits import DigitLines
from textkd.tasks.ocr.files import FileLines, FolderLines
from textkd.tasks.ocr.hub import HubLines
from textkd.tasks.ocr.linetable import Joined, LineTable, Part
from textkd.tasks.ocr.options import check_range, check_whole
from textkd.tasks.ocr.render import RenderedLines
from textkd.tasks.ocr.texts import read_sentences

__all__ = ["DigitLines", "FileLines", "FolderLines", "HubLines", "LineTable", "RenderedLines", "lines"]

Spec = str | Path | Mapping[str, Any] | Sequence[Any]
PART = ("words", "limit", "repeat", "seed", "unlabelled")  # options of every kind
COLUMNS = ("image", "text", "where")
KINDS: dict[str, tuple[str, ...]] = {
    "path": (*COLUMNS, "delimiter", "quoted", "encoding"),
    "dataset": (*COLUMNS, "config", "split"),
    "rendered": (),
    "digits": (),
}
TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "path": ((str, Path), "a path"),
    "dataset": (str, "an id of the hub"),
    "config": (str, "a name"),
    "split": (str, "a name"),
    "image": (str, "the name of a column"),
    "text": (str, "the name of a column"),
    "where": (Mapping, "{column: value, ...}"),
    "delimiter": (str, "a character"),
    "quoted": (bool, "true or false"),
    "encoding": (str, "the name of an encoding"),
    "unlabelled": (bool, "true or false"),
}
SHAPES = "a path, {path: FILE or FOLDER}, {dataset: ID, split: train}, {rendered: {n: 1000}}, {digits: {n: 1000}}"


def lines(spec: Spec, *, unlabelled: bool = False) -> LineTable:
    """The lines that `spec` names.

    spec: a path (parquet, csv, tsv, json, jsonl; a folder of images with metadata.csv or .jsonl; a pattern such as
    `train-*.parquet`; `package:NAME/inner/path`), or one of
        {path: ..., image: column, text: column, where: {column: value or values}, delimiter: , quoted: ,
         encoding: }
        {dataset: hub id, config: , split: train, image: , text: , where: }
        {rendered: {n: , texts: , seed: , ...}}  options of `RenderedLines`; texts: sentences, a .txt file with one
                                                 a line, or a spec of lines whose transcriptions are taken
        {digits: {n: , split: , seed: , ...}}    options of `DigitLines`
    each with words (1, or [least, most]: pieces of so many words, cut at the gaps between them, see `Cut`), limit (the
    first so many; with seed: that many at random), repeat (times over) and unlabelled, or a list
    of all these, which are joined. `image` and `text` are "image" and "text" unless given; the image column holds
    encoded bytes, {bytes, path} structs or paths relative to the file. unlabelled: transcriptions are not read, all
    texts are None and the text column may be missing.
    Raises `TextkdError` with everything that is wrong in the spec and, files being read at once, in their columns and
    texts; a data set of the hub is read on first use. Images are checked by `LineTable.problems()`.
    """
    if isinstance(spec, str | Path):
        return lines({"path": spec}, unlabelled=unlabelled)
    if isinstance(spec, Mapping):
        return _one(spec, unlabelled)
    if not isinstance(spec, Sequence) or not len(spec):
        raise fail("lines of text", f"{spec!r}", fix=f"give {SHAPES}, or a list of these")
    collector, parts = Collector(), []
    for number, part in enumerate(spec):
        with collector.collecting(f"[{number}]"):
            parts.append(lines(part, unlabelled=unlabelled))
    collector.raise_any()
    return parts[0] if len(parts) == 1 else Joined(parts)


def _one(spec: Mapping[str, Any], unlabelled: bool) -> LineTable:
    kinds = [kind for kind in KINDS if kind in spec]
    if len(kinds) != 1:
        found = f"{' and '.join(kinds)} together" if kinds else f"the keys {', '.join(map(str, spec)) or '(none)'}"
        raise fail("one source of lines", found, near=(str(next(iter(spec), "")), KINDS), fix=f"give {SHAPES}")
    kind, collector = kinds[0], Collector()
    known = (kind, *KINDS[kind], *PART)
    found, fix = f"with {kind}: go {', '.join(known[1:])}", "leave it out, or one of these"
    collector.add(*(problem(f"key {key!r}", found, near=(str(key), known), fix=fix, where=str(key))
                    for key in spec if key not in known))  # fmt: skip
    _check_values(spec, collector, unlabelled)
    unlabelled = unlabelled or bool(spec.get("unlabelled", False))
    if collector.problems:
        if not {p.where for p in collector.problems} & {kind, *KINDS[kind], "unlabelled"}:
            with collector.collecting():  # what else is wrong with the lines
                _table(spec, kind, unlabelled).problems()
        collector.raise_any()
    table = _table(spec, kind, unlabelled)
    if (words := spec.get("words")) is not None:
        table = Cut(table, (words, words) if isinstance(words, int) else tuple(words))
    drop = unlabelled and kind in ("rendered", "digits")
    limit, repeat, seed = spec.get("limit"), spec.get("repeat", 1), spec.get("seed")
    return table if limit is None and repeat == 1 and not drop else Part(table, limit, repeat, seed, drop)


def _table(spec: Mapping[str, Any], kind: str, unlabelled: bool) -> LineTable:
    """All lines of a kind of source."""
    if kind == "rendered":
        return _rendered(spec[kind])
    if kind == "digits":
        return _generator(DigitLines, kind, spec[kind])
    options = {key: spec[key] for key in KINDS[kind] if spec.get(key) is not None}
    make = _files if kind == "path" else HubLines
    return make(spec[kind], unlabelled=unlabelled, **options)


def _check_values(spec: Mapping[str, Any], collector: Collector, unlabelled: bool) -> None:
    for key, least in (("limit", 1), ("repeat", 1), ("seed", 0)):
        if spec.get(key) is not None:
            check_whole(collector, **{key: (spec[key], least)})
    if isinstance(spec.get("words"), list | tuple):
        check_range(collector, "words", spec["words"])
    elif spec.get("words") is not None:
        check_whole(collector, words=(spec["words"], 1))
    if spec.get("words") is not None and (unlabelled or spec.get("unlabelled")):
        found, fix = "the transcription says how many words there are to cut at", "leave words: out"
        collector.add(problem("words: of lines without transcription", found, fix=fix, where="words"))
    if isinstance(spec.get("encoding"), str):
        collector.add(*encoding_problems(spec["encoding"]))
    for key, (kind, words) in TYPES.items():
        if spec.get(key) is not None and not isinstance(spec[key], kind):
            collector.add(problem(f"{key}: {words}", repr(spec[key]), fix=f"give {words}", where=key))
    _check_pairs(spec, collector)


def _check_pairs(spec: Mapping[str, Any], collector: Collector) -> None:
    """Keys that say nothing beside, or without, another."""
    if spec.get("text") is not None and spec.get("unlabelled") is True:
        found = "unlabelled: true reads no transcriptions"
        collector.add(problem(f"text: {spec['text']!r}", found, fix="leave one of them out", where="text"))
    if spec.get("seed") is not None and spec.get("limit") is None:
        fix = "give limit:, or put seed: inside rendered: or digits:"
        collector.add(problem("seed: of lines drawn at random", "no limit: to draw", fix=fix, where="seed"))


def _files(path: str | Path, **options: Any) -> LineTable:
    place = resolve(path)
    if any(sign in place.name for sign in "*?[") and not place.exists():
        found = sorted(glob(str(place)))
        if not found:
            raise fail(f"files {place}", "no file of such a name", fix="correct the pattern")
        collector, parts = Collector(), []
        for one in found:
            with collector.collecting():
                parts.append(_files(one, **options))
        collector.raise_any()
        return Joined(parts)
    if place.is_dir():
        return FolderLines(place, **options)
    if not place.exists() and place.suffix.lower() not in SUFFIXES:
        siblings = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
        raise fail(f"lines of {path}", "no such file or folder", near=(place.name, siblings), fix=f"give {SHAPES}")
    return FileLines(place, **options)


def _rendered(options: Any) -> LineTable:
    if not isinstance(options, Mapping) or options.get("texts") is None:
        return _generator(RenderedLines, "rendered", options)
    collector, texts = Collector(), options["texts"]
    with collector.collecting("rendered.texts"):
        if isinstance(texts, str | Path):
            texts = read_sentences(resolve(texts))
        elif isinstance(texts, Mapping):
            texts = [text for text in lines(texts).texts if text is not None]
    if collector.problems:  # the other options are looked at beside another text
        with collector.collecting():
            _generator(RenderedLines, "rendered", {**options, "texts": ["a"]})
        collector.raise_any()
    return _generator(RenderedLines, "rendered", {**options, "texts": texts})


def _generator(kind: Callable[..., LineTable], name: str, options: Any) -> LineTable:
    known = list(inspect.signature(kind).parameters)
    if not isinstance(options, Mapping):
        fix = f"write {name}: {{n: 1000}}; the options are {known}"
        raise fail(f"{name}: options", repr(options), fix=fix, where=name)
    collector, made = Collector(), list[LineTable]()
    with collector.collecting(name):
        found, fix = f"the options are {', '.join(known)}", "leave it out, or one of these"
        unknown = [key for key in options if key not in known]
        collector.add(*(problem(f"option {key!r}", found, near=(str(key), known), fix=fix, where=str(key))
                        for key in unknown))  # fmt: skip
        made.append(kind(**{key: value for key, value in options.items() if key not in unknown}))
    collector.raise_any()
    return made[0]
