"""What is asked of a runtime, looked at before it answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textkd.errors import fail

ANSWERS = {
    "logits": "classifiers of texts", "entities": "token classifiers", "tags": "token classifiers",
    "word_logits": "token classifiers", "read": "readers of lines",
}  # fmt: skip


class Answering:
    """A runtime that says who has the answers that it has not. models: whose answers it has, as in `ANSWERS`."""

    models = ""

    def __getattr__(self, name: str) -> Any:
        if name not in ANSWERS:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        has = ", ".join(["predict", *(one for one, models in ANSWERS.items() if models == self.models)])
        raise AttributeError(
            f"{name} is of {ANSWERS[name]}; this folder holds a model of another kind, which has {has}"
        )


def batch_of(batch_size: Any, things: str = "texts") -> int:
    """How many things run together.

    Args:
        batch_size: as it was given.
        things: what runs.

    Raises:
        TextkdError: it is no whole number from 1.

    Example:
        >>> batch_of(8)
        8
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise fail(f"batch_size={batch_size!r}", f"not a number of {things}", fix="1 or more")
    return batch_size


def listed(texts: Any) -> list[Any]:
    """Texts as a list; one string is a list of one.

    Args:
        texts: as they were given.

    Raises:
        TextkdError: they are neither a text nor several.

    Example:
        >>> listed("a film"), listed(("a film", "a plot"))
        (['a film'], ['a film', 'a plot'])
    """
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise fail("texts", f"{type(texts).__name__} {texts!r}"[:120], fix="give a list of strings")
    return list(texts)
