"""`TextModel`: answers texts with an exported encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from textkd.deploy.manifest import Manifest
from textkd.deploy.runtime.asked import Answering, batch_of, listed
from textkd.errors import fail

Array = np.ndarray[Any, Any]
Text = str | Sequence[str]


class TextModel(Answering):
    """An exported encoder with its tokenizer; `textkd.deploy.load` makes one.

    Texts are answered one at a time unless `batch_size` says otherwise: on a CPU batches gain little, and a model whose
    activations are int8 answers a text a little differently beside others, because all rows share one scale.

    Args:
        manifest: what the folder holds.
        session: of its graph.
        tokenizer: of the package tokenizers.
    """

    models = "classifiers of texts"

    def __init__(self, manifest: Manifest, session: Any, tokenizer: Any) -> None:
        self.manifest, self.session, self.tokenizer = manifest, session, tokenizer
        pad_id, pad_token, pad_type = manifest.pad
        tokenizer.enable_truncation(manifest.max_length)
        tokenizer.enable_padding(pad_id=pad_id, pad_token=pad_token, pad_type_id=pad_type)

    @property
    def labels(self) -> list[str]:
        """The names of the classes (tags) in the order of their ids."""
        return list(self.manifest.labels)

    @property
    def max_length(self) -> int:
        """Tokens of a text, special ones counted in; longer texts are cut."""
        return self.manifest.max_length

    def logits(self, texts: str | Sequence[Text], batch_size: int = 1) -> Array:
        """What the head of the model gives.

        Args:
            texts: each a string, or a pair of two; one string is a list of one.
            batch_size: texts that run together.

        Returns:
            float32 [N, C].

        Raises:
            TextkdError: one of them is no text, `batch_size` is no number from 1.
        """
        size, rows = batch_of(batch_size), self.encoded(texts)
        found = [self.run(rows[at : at + size]) for at in range(0, len(rows), size)]
        return np.concatenate(found) if found else np.zeros((0, len(self.labels)), np.float32)

    def predict(self, texts: str | Sequence[Text], batch_size: int = 1) -> list[Any]:
        """The answer to each text, as transformers' pipeline "text-classification" gives it.

        Args:
            texts: each a string, or a pair of two; one string is a list of one.
            batch_size: texts that run together.

        Returns:
            For each text {"label": name, "score": probability}; of a model with any number of labels a list of those
            above one half; of a model of scores {"label": its name, "score": the number}.

        Raises:
            TextkdError: one of them is no text, `batch_size` is no number from 1.
        """
        logits = self.logits(texts, batch_size)
        names = self.labels
        if self.manifest.kind == "scores":
            return [{"label": names[0], "score": float(row[0])} for row in logits]
        if self.manifest.kind == "label_sets":
            chances = 1 / (1 + np.exp(-logits.astype(np.float64)))
            return [
                [{"label": name, "score": float(p)} for name, p in zip(names, row, strict=True) if p > 0.5]
                for row in chances
            ]
        chances = softmax(logits)
        best = chances.argmax(-1)
        return [{"label": names[i], "score": float(row[i])} for i, row in zip(best, chances, strict=True)]

    def encoded(self, texts: str | Sequence[Text]) -> list[Any]:
        """The texts as the tokenizer cuts them, not padded.

        Args:
            texts: each a string, or a pair of two; one string is a list of one.

        Raises:
            TextkdError: one of them is no text.
        """
        given = [_checked(text, i) for i, text in enumerate(listed(texts))]
        return [self.tokenizer.encode(*one) for one in given]

    def run(self, rows: Sequence[Any]) -> Array:
        """The graph's answer to encoded rows that run together, padded to the longest.

        Args:
            rows: of `encoded`.

        Returns:
            float32 [B, C], of a token classifier [B, T, C].
        """
        width = max(len(row.ids) for row in rows)
        pad_id, _, pad_type = self.manifest.pad
        columns = {
            "input_ids": _padded([row.ids for row in rows], width, pad_id),
            "attention_mask": _padded([[1] * len(row.ids) for row in rows], width, 0),
            "token_type_ids": _padded([row.type_ids for row in rows], width, pad_type),
        }
        found: Array = self.session.run(None, {name: columns[name] for name in self.manifest.inputs})[0]
        return found


def softmax(logits: Array) -> Array:
    """Probabilities over the last dimension, in float64."""
    wide = logits.astype(np.float64)
    raised = np.exp(wide - wide.max(-1, keepdims=True))
    shares: Array = raised / raised.sum(-1, keepdims=True)
    return shares


def _padded(rows: Sequence[Sequence[int]], width: int, value: int) -> Array:
    return np.array([[*row, *[value] * (width - len(row))] for row in rows], dtype=np.int64)


def _checked(text: Any, number: int) -> tuple[str, ...]:
    """A text, or a pair of texts, as a tuple."""
    parts = (text,) if isinstance(text, str) else text
    is_pair = isinstance(parts, tuple | list) and len(parts) in (1, 2) and all(isinstance(one, str) for one in parts)
    if not is_pair:
        fix = "give strings, or pairs of two strings"
        raise fail(f"texts[{number}]", f"{type(text).__name__} {text!r}"[:120], fix=fix)
    for one in parts:
        if any("\ud800" <= sign <= "\udfff" for sign in one):
            fix = "text.encode('utf-8', 'replace').decode()"
            raise fail(f"texts[{number}]", "half of a character (a lone surrogate)", fix=fix)
    return tuple(parts)
