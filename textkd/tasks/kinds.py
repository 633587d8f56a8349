"""The kinds of task by name: how a recipe's block makes one, and how a finished model's folder does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from textkd.errors import fail
from textkd.tasks.ocr.factory import ocr, ocr_of_model
from textkd.tasks.ocr.output import LineTexts
from textkd.tasks.outputs.by_row import ByRow
from textkd.tasks.outputs.tokens import Tokens
from textkd.tasks.task import Task
from textkd.tasks.text.columns import text, text_of_model
from textkd.tasks.text.glue import SUBSETS, glue
from textkd.tasks.tokens.factory import tokens, tokens_of_model


@dataclass(frozen=True)
class Kind:
    """One kind of task.

    make: the task of the options of a recipe's `task:` block, which are its parameters. auto_class: what loads its
    models, known before there is a task. of_model: ``f(model, folder, file, **options) -> Task``, for `textkd
    eval`: a task with one labelled file as its split "eval", for the model that lies in `folder`; its further
    parameters are the options that it takes. None: the task is made without options and reads the file by itself.
    """

    make: Callable[..., Task]
    auto_class: Any
    of_model: Callable[..., Task] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """The keys of a `task:` block."""
        return tuple(sorted(set(inspect.signature(self.make).parameters) - {"name"}))

    @property
    def eval_options(self) -> tuple[str, ...]:
        """The options of `textkd eval` that it takes."""
        return () if self.of_model is None else tuple(inspect.signature(self.of_model).parameters)[3:]

    def read(self, model: Any, folder: str, file: str | Path, options: Mapping[str, Any]) -> Task:
        """The task of one labelled file for `model`."""
        return self.make().with_file(file) if self.of_model is None else self.of_model(model, folder, file, **options)


_KINDS: dict[str, Kind] = {
    **{f"glue/{subset}": Kind(partial(glue, subset), ByRow.auto_class) for subset in SUBSETS},
    "text": Kind(text, ByRow.auto_class, text_of_model),
    "tokens": Kind(tokens, Tokens.auto_class, tokens_of_model),
    "ocr": Kind(ocr, LineTexts.auto_class, ocr_of_model),
}


def register(
    name: str, make: Callable[..., Task], auto_class: Any, of_model: Callable[..., Task] | None = None
) -> None:
    """Adds a kind of task, which recipes then call `name`; see `Kind`. A name that is taken is an error."""
    if name in _KINDS:
        raise fail(f"a new task {name!r}", "there is one of that name", fix="another name")
    _KINDS[name] = Kind(make, auto_class, of_model)


def names() -> tuple[str, ...]:
    """The names of all kinds."""
    return tuple(_KINDS)


def kind(name: str) -> Kind:
    """The kind of a name. Raises `TextkdError` on a typo."""
    if name not in _KINDS:
        raise fail(f"task {name!r}", f"the tasks are {', '.join(_KINDS)}", near=(name, _KINDS))
    return _KINDS[name]


def get(name: str, **options: Any) -> Task:
    """A task by name: "glue/sst2" (options of `glue`), "text" (of `text`), "ocr" (of `ocr`) and so on. Raises
    `TextkdError` on a typo."""
    return kind(name).make(**options)
