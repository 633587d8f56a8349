"""The kinds of task by name: how a recipe's block makes one, and how a finished model's folder does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

from textkd.errors import fail, is_own_defect
from textkd.tasks.ocr.factory import APART, OF_LINES, ocr, ocr_of_model
from textkd.tasks.ocr.new_model import new_reader
from textkd.tasks.ocr.output import LineTexts
from textkd.tasks.outputs.by_row import ByRow
from textkd.tasks.outputs.tokens import Tokens
from textkd.tasks.task import Task
from textkd.tasks.text.columns import text, text_of_model
from textkd.tasks.text.glue import SUBSETS, glue
from textkd.tasks.tokens.factory import tokens, tokens_of_model


@dataclass(frozen=True)
class Kind:
    """One kind of task: how a recipe's block makes one, and how a finished model's folder does.

    Args:
        make: a function that makes the task; its parameters are the options of a recipe's `task:` block.
        auto_class: what loads the models of the task, known before there is a task.
        of_model: ``f(model, folder, file, **options) -> Task``, for `textkd eval`: a task with one labelled file as its
            split "eval", for the model that lies in `folder`. Its further parameters are the options that it takes.
            None: the task is made without options and reads the file by itself.
        make_new: ``f(config, task) -> model`` with random weights, of a recipe's `config:` block of a teacher. task
            None: a look at the block alone. None: models of this kind of task start from pretrained ones.
        elsewhere: of keys that stand in another place than the `task:` block, what to do.
        apart: options on which no row depends: where one is bad, the rows are looked at all the same.

    Example:
        >>> kind("tokens").eval_options["skip_damaged"], kind("ocr").eval_options["num_beams"]
        ((<class 'bool'>,), (<class 'int'>,))
    """

    make: Callable[..., Task]
    auto_class: Any
    of_model: Callable[..., Task] | None = None
    make_new: Callable[[Mapping[str, Any], Task | None], Any] | None = None
    elsewhere: Mapping[str, str] | None = None
    apart: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The keys of a `task:` block."""
        return tuple(sorted(set(inspect.signature(self.make).parameters) - {"name"}))

    @property
    def eval_options(self) -> dict[str, tuple[type, ...]]:
        """The options of `textkd eval` that it takes, with the types of their values; a text where none is said."""
        if self.of_model is None:
            return {}
        said = get_type_hints(self.of_model)
        names = list(inspect.signature(self.of_model).parameters)[3:]
        types = {name: get_args(said.get(name, str)) or (said.get(name, str),) for name in names}
        return {name: tuple(one for one in own if one is not type(None)) for name, own in types.items()}

    def read(self, model: Any, folder: str, file: str | Path, options: Mapping[str, Any]) -> Task:
        """The task of one labelled file.

        Args:
            model: the finished model.
            folder: where it lies.
            file: the labelled file.
            options: those of `textkd eval`, of `eval_options`.

        Raises:
            TextkdError: the options, the model's classes or the file cannot be.
        """
        return self.make().with_file(file) if self.of_model is None else self.of_model(model, folder, file, **options)

    def new_model(self, config: Mapping[str, Any], task: Task | None = None) -> Any:
        """A model with random weights, which come from torch's global random state.

        Args:
            config: a recipe's block.
            task: what it is to learn; None for a look at `config` alone.

        Raises:
            TextkdError: there is no such model for this kind of task, or `config` is wrong.

        Example:
            >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
            >>> kind("ocr").new_model({"encoder": sizes}).config.encoder.hidden_size
            16
        """
        if self.make_new is None:
            found = "models of this kind of task are not made anew: they start from a pretrained one"
            raise fail("config: a model with random weights", found, fix="path: FOLDER_OR_HUB_ID", where="config")
        try:
            return self.make_new(config, task)
        except (TypeError, ValueError, KeyError, AttributeError) as error:  # of the model's own class
            if is_own_defect(error):
                raise
            what = f"{type(error).__name__}: {error}"
            raise fail("config: a model with random weights", what, fix="correct config", where="config") from error


_KINDS: dict[str, Kind] = {
    **{f"glue/{subset}": Kind(partial(glue, subset), ByRow.auto_class, apart=("limit",)) for subset in SUBSETS},
    "text": Kind(text, ByRow.auto_class, text_of_model, apart=("limit", "extra_evals")),
    "tokens": Kind(tokens, Tokens.auto_class, tokens_of_model, apart=("limit", "extra_evals")),
    "ocr": Kind(ocr, LineTexts.auto_class, ocr_of_model, new_reader, elsewhere=OF_LINES, apart=APART),
}


def register(
    name: str,
    make: Callable[..., Task],
    auto_class: Any,
    of_model: Callable[..., Task] | None = None,
    make_new: Callable[[Mapping[str, Any], Task | None], Any] | None = None,
) -> None:
    """Adds a kind of task, which recipes then call `name`.

    Args:
        name: a new name.
        make: as of `Kind`.
        auto_class: as of `Kind`.
        of_model: as of `Kind`.
        make_new: as of `Kind`.

    Raises:
        TextkdError: the name is taken.

    Example:
        >>> register("text", text, ByRow.auto_class)
        Traceback (most recent call last):
        ...
        textkd.errors.TextkdError: asked: a new task 'text'
          found: there is one of that name
          fix: another name
    """
    if name in _KINDS:
        raise fail(f"a new task {name!r}", "there is one of that name", fix="another name")
    _KINDS[name] = Kind(make, auto_class, of_model, make_new)


def names() -> tuple[str, ...]:
    """The names of all kinds.

    Returns:
        Those of textkd, then those that were registered.

    Example:
        >>> {"glue/sst2", "text", "tokens", "ocr"} <= set(names())
        True
    """
    return tuple(_KINDS)


def kind(name: str) -> Kind:
    """The kind of a name.

    Args:
        name: one of `names`.

    Returns:
        How tasks of this name are made.

    Raises:
        TextkdError: no such kind, with the nearest names.

    Example:
        >>> kind("glue/sst2").options
        ('limit', 'path', 'skip_damaged')
    """
    if name not in _KINDS:
        raise fail(f"task {name!r}", f"the tasks are {', '.join(_KINDS)}", near=(name, _KINDS))
    return _KINDS[name]


def get(name: str, **options: Any) -> Task:
    """A task by name.

    Args:
        name: "glue/sst2" (options of `glue`), "text" (of `text`), "tokens" (of `tokens`), "ocr" (of `ocr`), or one that
            was registered.
        options: of the function that makes the task.

    Returns:
        A task whose data is read on first use.

    Raises:
        TextkdError: no such kind, with the nearest names, or options that cannot work.

    Example:
        >>> get("glue/sst2").labels
        ['negative', 'positive']
    """
    return kind(name).make(**options)
