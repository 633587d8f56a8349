"""Imports that stay until the process ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def for_good() -> Iterator[None]:
    """What is imported inside is never garbage: the collector does not look through it, neither now nor later.

    torch and transformers make millions of objects. A collector that goes through them again and again takes a fifth
    of the processor time of `textkd check`. For programs alone: garbage of before would stay, too.

    Example:
        >>> with for_good():
        ...     import textkd.errors
        >>> gc.isenabled()
        True
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
