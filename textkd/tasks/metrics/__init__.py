"""Metrics: real `evaluate` modules that lie beside this file and load without the hub."""

from __future__ import annotations

import os
import tempfile
import uuid
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from textkd.errors import fail

if TYPE_CHECKING:
    import evaluate

NAMES = ("glue", "text_classification", "entities", "cer", "wer")


def load(name: str, config_name: str = "default") -> evaluate.EvaluationModule:
    """The metric module `name` set up for `config_name`: "glue" (a subset), "text_classification" (a type), "entities",
    "cer" (with the share of exact lines) and "wer" (these without a config_name).

    The module keeps its rows in memory and has an experiment id of its own, so processes that evaluate at the same time
    never meet in `evaluate`'s cache files. Raises `TextkdError` for an unknown name or config_name.
    """
    if name not in NAMES:
        raise fail(f"metric {name!r}", f"the metrics are {', '.join(NAMES)}", near=(name, NAMES))
    import evaluate  # with its modules it takes scikit-learn and scipy along, which no check of a recipe needs

    _writable_module_cache()
    try:
        return evaluate.load(
            str(Path(__file__).parent / name / f"{name}.py"),
            config_name=config_name,
            experiment_id=uuid.uuid4().hex,
            keep_in_memory=True,
            cache_dir=_writable(evaluate.config.HF_METRICS_CACHE),
        )
    except KeyError as error:
        raise fail(f"metric {name!r} with config_name {config_name!r}", str(error.args[0])) from None


def _writable(folder: str | os.PathLike[str]) -> str:
    """`folder`, or a folder of this process where `folder` cannot be written (a read-only cache in a container)."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return _scratch().name
    return str(folder) if os.access(folder, os.W_OK) else _scratch().name


def _writable_module_cache() -> None:
    """`evaluate` imports a COPY of a module from its module cache; where that is read-only, the copy goes elsewhere."""
    import evaluate

    folder = evaluate.config.HF_MODULES_CACHE
    if (usable := _writable(folder)) != str(folder):
        evaluate.config.HF_MODULES_CACHE = usable


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="textkd-metrics-")
