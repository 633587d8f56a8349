"""Parts of every exported folder: the tokenizer, and what it was made by."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from textkd.deploy.manifest import WORDS
from textkd.errors import fail
from textkd.models.cpu import cpu

# texts that tokenizers may cut otherwise: capitals, accents, other scripts, blanks, numbers, nothing, pairs
TRIED = (
    ("A plain sentence, nothing more.",), ("Été ÀÉÎ  straße\tİstanbul\n",), ("日本語 and русский",), ("",), ("   ",),
    ("e\u0301 \u00a0 \u200b 1,234.50 $ don't",), ("[MASK] <mask> </s> 👩‍👩‍👧",), ("first part", "the second"),
)  # fmt: skip


def save_words(tokenizer: Any, part: Path) -> None:
    """Writes the tokenizer as transformers computes with it, and tries whether its file alone cuts texts alike.

    Args:
        tokenizer: of transformers.
        part: the folder.

    Raises:
        TextkdError: it has no tokenizer.json, or that alone cuts texts otherwise.
    """
    if not getattr(tokenizer, "is_fast", False):
        found = f"{type(tokenizer).__name__} has no tokenizer.json"
        raise fail("an ONNX export", found, fix="give a folder with a tokenizer.json with --tokenizer")
    tokenizer.save_pretrained(part)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(part / WORDS))
    alone = Tokenizer.from_file(str(part / WORDS))
    for text in TRIED:
        one, other = tokenizer(*text)["input_ids"], alone.encode(*text).ids
        if one != other:
            found = f"tokenizer.json alone cuts {text!r} into {other}, transformers into {one}"
            raise fail("an ONNX export", found, fix="report it with the folder's tokenizer files")


def made_by() -> dict[str, Any]:
    """The packages, their versions, and the CPU."""
    names = ("textkd", "torch", "transformers", "onnx", "onnxruntime", "tokenizers")
    return {**{name: version(name) for name in names}, "cpu": cpu()}
