"""Training rows with their labels, on which the parts of a model are compared before it is made narrower."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from torch import Tensor

from textkd.errors import TextkdError
from textkd.models.forward import forward_inputs, positions
from textkd.models.loading import own_tokenizer
from textkd.models.students.vocabulary import kept_of, place_of
from textkd.tasks import Task

FEW = 2  # for a look


def labelled(
    task: Task, model: Any, folder: str, count: int, max_length: int | None = None, *, few: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Training rows as a model reads them, spread evenly over the data: the same ones every time.

    Args:
        task: whose rows they are.
        model: the words are those of its folder.
        folder: where its tokenizer is, if the model itself does not say so.
        count: how many rows.
        max_length: tokens per row; None: the task's, or fewer where the model has fewer positions.
        few: rows that are soon there will do, whichever these are.

    Yields:
        Batches of one row, with labels.

    Raises:
        TextkdError: rows that cannot be read.
    """
    task = copy.copy(task)  # what it learns of this model's folder is no affair of the run
    words = _words(task, model, folder)
    asked = "train", forward_inputs(model), max_length or min(task.default_length, positions(model))
    collate, rows = task.collator(words, model), None
    if few:
        found = task.few(words, *asked, count) or task.short(words, *asked, count)
        rows = None if found is None else found[0]
    rows = task.encoded(words, *asked) if rows is None else rows
    count = min(count, len(rows))
    for i in range(count):
        yield collate([rows[i * len(rows) // count]])


def has_labels(task: Task, model: Any, folder: str) -> bool:
    """Whether any training row has a label: lines of text that a teacher is to read may have none."""
    if not task.output.writes:
        return True
    with suppress(TextkdError):
        return next(labelled(task, model, folder, 1, few=True), None) is not None
    return False


def has_words(task: Task, model: Any, folder: str) -> bool:
    """Whether it is known how a model reads: one that was just made has its words nowhere yet."""
    with suppress(TextkdError):
        return _words(copy.copy(task), model, folder) is not None
    return False


def _words(task: Task, model: Any, folder: str) -> Any:
    """By what a model reads. One that was trimmed reads by its own pieces, whatever folder it was loaded from."""
    if kept_of(model) is not None:
        return own_tokenizer(model)
    return task.processing(place_of(model) or folder)
