"""Opens an exported folder: what it holds says which runtime answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from textkd.deploy import manifest
from textkd.deploy.runtime.lines import LineModel
from textkd.deploy.runtime.texts import TextModel
from textkd.deploy.runtime.words import WordModel
from textkd.errors import reading
from textkd.models.onnx.session import package, session


def opened(folder: str | os.PathLike[str], threads: int | None = None) -> Any:
    """See `textkd.deploy.load`."""
    place = Path(os.path.expanduser(folder))
    known = manifest.read(place)
    words = place / manifest.WORDS
    with reading(f"the tokenizer {words}", fix="export the model again"):
        tokenizer = package("tokenizers").Tokenizer.from_file(str(words))
    kinds: dict[str, Any] = {"tokens": WordModel, manifest.LINES: LineModel}
    graphs = [session(place / name, threads) for name in known.graphs]
    return kinds.get(known.kind, TextModel)(known, *graphs, tokenizer)
