"""The environment of a training: TrainingArguments and Accelerate write into it, and later ones would read that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_environment() -> Iterator[None]:
    """Around a training, or anything else that makes arguments: afterwards, however it ends, the variables of the
    environment are those of before. What a launcher has written stays, for it was there.

    Example:
        >>> with kept_environment():
        ...     os.environ["ACCELERATE_USE_FSDP"] = "true"
        >>> "ACCELERATE_USE_FSDP" in os.environ
        False
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})
