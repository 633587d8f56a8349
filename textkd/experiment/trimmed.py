"""A source of models whose vocabulary is that of a task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from textkd.errors import TextkdError, fail
from textkd.experiment.plan import Source
from textkd.models import loading
from textkd.models.students.vocabulary import Kept, choose, kept_of, place_of, trim
from textkd.models.students.wanted import Wanted
from textkd.models.words import hash_of
from textkd.tasks import Task

log = logging.getLogger("textkd")


def trimmed(source: Source, wanted: Wanted, task: Task | None) -> Source:
    """The same models, with the pieces alone that the training texts of a task need.

    Args:
        source: of the whole models.
        wanted: how many pieces stay, and which in any case.
        task: whose texts are looked at; None: it cannot be read, which is told elsewhere.
    """
    known = dict[str, Kept]()  # by tokenizer: every seed, and the control, has the same pieces

    def make(models: Mapping[str, Any], seed: int) -> Any:
        return cut(source.make(models, seed), models)

    def glance(models: Mapping[str, Any], readable: bool) -> Any:
        assert source.glance is not None
        return cut(source.glance(models, readable), models)

    def cut(whole: Any, models: Mapping[str, Any]) -> Any:
        texts = None if task is None else _texts(task)
        if texts is None:
            return whole
        words = _words(source, models, whole, task)
        place, pieces = hash_of(words), getattr(words, "tokenizer", words)
        if place not in known:
            known[place] = choose(pieces, texts, wanted.keep, wanted.words())
            _tell(known[place], pieces)
        return trim(whole, words, known[place])

    def content() -> str:
        return f"{source.content()} {wanted.words()}"

    told = {"made": source.told, "vocabulary": wanted}
    return replace(source, make=make, glance=source.glance and glance, content=content, told=told)


def _texts(task: Task) -> list[list[str]] | None:
    """The texts of the training rows; None where they cannot be read, which is told with the task."""
    rows: Any = None
    with suppress(TextkdError):
        rows = task.load("train")
    if rows is None:
        return None
    columns = [name for name in ("text_a", "text_b", "words", "text") if name in rows.column_names]
    if not columns:
        what = f"the rows of {task.name} hold no texts ({', '.join(rows.column_names)})"
        raise fail("a vocabulary of the task", what, fix="leave vocabulary out", where="vocabulary")
    if "text" in columns and (bare := sum(text is None for text in rows["text"])):
        what = f"{bare:,} training lines have no transcription: which pieces will be written there is not known"
        raise fail("a vocabulary of the task", what, fix="leave vocabulary out", where="vocabulary")
    return [
        [" ".join(part) if isinstance(part, list) else part for part in row if part is not None]
        for row in zip(*(rows[name] for name in columns), strict=True)
    ]


def _words(source: Source, models: Mapping[str, Any], whole: Any, task: Task | None) -> Any:
    """The tokenizer of what a model is made of; of a reader, its processor."""
    made_of = [whole, *(models[name] for name in source.reads)]
    for one in made_of:
        if kept_of(one) is not None:
            return loading.own_tokenizer(one)
    place = next(filter(None, map(place_of, made_of)), source.folder)
    if task is not None and task.output.writes:
        return task.processing(place)
    for one in made_of:
        if (own := loading.own_tokenizer(one)) is not None:
            return own
    return loading.load_tokenizer(place)


def _tell(kept: Kept, words: Any) -> None:
    said = f"vocabulary: {len(kept.ids):,} of {len(words):,} pieces stay; "
    if kept.cut:
        more = f"{kept.cut:.1%} of the training texts are cut into other pieces, so hidden states cannot be compared"
    else:
        more = "all training texts are cut as before"
    log.info(said + more)
