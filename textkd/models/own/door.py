"""How models are saved and loaded that plain transformers cannot load.

The worst would be a folder that it loads with random weights and a line in a log. So such a folder carries a model_type
that no transformers knows (`AutoModel` and `AutoConfig` refuse it), and its weights a name under which none of its
classes looks for them. What the model is stands in its config, under `textkd`: `kind`, and the words of that kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import transformers

from textkd.errors import TextkdError, fail
from textkd.models.files import write_atomic
from textkd.models.own.marks import TYPE, VARIANT, WORDS

# each module has a `KIND`; a further one is a file and a line here
KINDS: dict[str, str] = {
    "bilstm": "textkd.models.own.bilstm",
    "rebuilt": "textkd.models.own.rebuilt",
    "textcnn": "textkd.models.own.textcnn",
}
AGAIN = "copy config.json again from where the model came from"
HEAD = ("num_labels", "id2label", "label2id", "problem_type")  # of `from_pretrained`, they change the config


class Kind(Protocol):
    """What a module of `KINDS` has under the name KIND."""

    def config(self, values: dict[str, Any]) -> Any:
        """The config of what config.json says, with the model_type that it has in memory."""

    def model(self, loader: Any, config: Any) -> Any:
        """The class that `loader` (an auto class, a class of transformers or of this kind) means for this config.

        Raises:
            TextkdError: there is none.
        """

    def named(self, name: str) -> Any:
        """The class that a config names in `architectures`; None where this kind has none of this name."""


class Own:
    """Stands before `PreTrainedModel`, or a class of it, among the bases of a class that textkd alone loads. Its config
    has a field `textkd`, a mapping with `kind`."""

    config: Any

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """That of transformers, into a folder that plain transformers refuses.

        Args:
            save_directory: the folder.
            kwargs: those of transformers; `variant` and `save_original_format` are decided here.

        Raises:
            TextkdError: it is to be pushed to the hub, where the folder would be plain for a while.
        """
        if kwargs.pop("push_to_hub", False):
            raise fail("save_pretrained(push_to_hub=True)", "the folder is not finished then", fix="model.push_to_hub")
        told = {**kwargs, "variant": VARIANT, "save_original_format": False}
        super().save_pretrained(save_directory, **told)  # type: ignore[misc]
        if kwargs.get("is_main_process", True):
            _close(Path(save_directory))


def save_config(model: Any, folder: Path) -> None:
    """Writes the config of a model beside something else that was made of it, as `save_pretrained` writes it.

    Args:
        model: of transformers or of textkd.
        folder: where config.json is written.
    """
    model.config.save_pretrained(folder)
    if isinstance(model, Own):
        _close(folder)


def config_of(told: Mapping[str, Any], source: str) -> tuple[Kind, Any]:
    """The kind of a model that textkd alone loads, and its config as it is in memory.

    Args:
        told: what config.json says.
        source: where it lies, for the message.

    Raises:
        TextkdError: of no kind that is known here.
    """
    words = told.get(WORDS)
    name = words.get("kind") if isinstance(words, Mapping) else None
    if not isinstance(name, str) or not isinstance(words, Mapping) or name not in KINDS:
        found = f"its config.json names the kind {name!r}; known: {', '.join(KINDS)}"
        raise fail(f"load {source}", found, near=(str(name), KINDS), fix="load it with the textkd that saved it")
    kind: Kind = import_module(KINDS[name]).KIND
    if not isinstance(words.get("model_type"), str):
        raise fail(f"load {source}", f"no model_type in the block {WORDS} of its config.json", fix=AGAIN)
    kept = {key: value for key, value in words.items() if key != "model_type"}
    try:
        return kind, kind.config({**told, "model_type": words.get("model_type"), WORDS: kept})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise fail(f"load {source}", f"its config.json makes no config: {error}",
                   fix=AGAIN) from error  # fmt: skip


def class_meant(loader: Any, config: Any) -> Any:
    """The class that an auto class means for a config, as it is in memory; None where there is none; another loader."""
    words = getattr(config, WORDS, None)
    kind = words.get("kind") if isinstance(words, Mapping) else None
    if kind in KINDS:
        with suppress(TextkdError):
            return import_module(KINDS[kind]).KIND.model(loader, config)
        return None
    mapping = getattr(loader, "_model_mapping", {})
    return mapping.get(type(config), None) if mapping else loader


def class_named(config: Any, name: str) -> Any:
    """The class that a config, as it is in memory, names in `architectures`; None where nobody has one of this name."""
    words = getattr(config, WORDS, None)
    kind = words.get("kind") if isinstance(words, Mapping) else None
    if isinstance(kind, str) and kind in KINDS:
        return import_module(KINDS[kind]).KIND.named(name)
    return getattr(transformers, name, None)


def loading_of(
    loader: Any, source: str, told: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """How a folder is loaded that `Own` saved.

    Args:
        loader: an auto class or a class of models.
        source: a folder or a hub id.
        told: what its config.json says.
        kwargs: those of `from_pretrained`.

    Returns:
        The class whose `from_pretrained` does it, and the arguments that this takes.

    Raises:
        TextkdError: of no kind that is known here, or `loader` means no class of it.
    """
    kind, config = config_of(told, source)
    for name in HEAD:
        if name in kwargs:
            setattr(config, name, kwargs[name])
    rest = {name: value for name, value in kwargs.items() if name not in HEAD}
    return kind.model(loader, config), {**rest, "config": config, "variant": VARIANT}


def _close(folder: Path) -> None:
    file = folder / "config.json"
    write_atomic(file, json.dumps(_closed(json.loads(file.read_text(encoding="utf-8"))), indent=2) + "\n")


def _closed(values: dict[str, Any]) -> dict[str, Any]:
    """What config.json says, of what transformers wrote there."""
    return {**values, "model_type": TYPE, WORDS: {**values[WORDS], "model_type": values.get("model_type")}}
