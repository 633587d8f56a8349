"""`WordModel`: tags words and finds entities with an exported token classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from textkd.deploy.runtime.asked import batch_of, listed
from textkd.deploy.runtime.texts import Array, TextModel, softmax
from textkd.errors import fail
from textkd.models.tagged_words import first_pieces, spans


class WordModel(TextModel):
    """An exported token classifier with its tokenizer; `textkd.deploy.load` makes one."""

    models = "token classifiers"

    def logits(self, texts: Sequence[Any], batch_size: int = 1) -> Any:
        """Refused: a token classifier has logits for each word; `word_logits` gives them."""
        raise fail("logits of texts", "a token classifier has logits for each word", fix="word_logits(sentences)")

    def predict(self, texts: Any, batch_size: int = 1) -> list[Any]:
        """The entities of each text: see `entities`.

        Raises:
            TextkdError: one of them is no text; more than one shall run together, which a tagger does not do.
        """
        if batch_of(batch_size) != 1:
            raise fail(f"batch_size={batch_size}", "a token classifier answers one text after the other",
                       fix="leave batch_size out")  # fmt: skip
        return self.entities(texts)

    def entities(self, texts: str | Sequence[str | Sequence[str]]) -> list[list[dict[str, Any]]]:
        """The entities in each text.

        Args:
            texts: each a string, whose words stand between blanks, or a list of words; one string is a list of one.

        Returns:
            For each text a list of {"entity": type, "text": its words, "score": the mean probability of its tags,
            "start", "end": where it stands in the text (of a list of words: joined by spaces)}.

        Raises:
            TextkdError: one of them is no text.
        """
        found = []
        for text in listed(texts):
            words, places = _words(text)
            (logits,) = self.word_logits([words])
            chances = softmax(np.nan_to_num(logits, nan=0.0))
            tags = self._tags(logits)
            found.append(
                [
                    {
                        "entity": kind, "text": " ".join(words[first : last + 1]),
                        "score": float(np.mean(chances[first : last + 1].max(-1))),
                        "start": places[first][0], "end": places[last][1],
                    }
                    for kind, first, last in spans(tags)
                ]
            )  # fmt: skip
        return found

    def tags(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """The tag of each word; "O" of words that are cut off or that the tokenizer makes nothing of.

        Args:
            sentences: lists of words.

        Raises:
            TextkdError: one of them is a text, not its words.
        """
        return [self._tags(logits) for logits in self.word_logits(sentences)]

    def word_logits(self, sentences: Sequence[Sequence[str]]) -> list[Array]:
        """The logits of each word's first piece.

        Args:
            sentences: lists of words.

        Returns:
            For each sentence float32 [W, C]; NaN where a word has no piece.

        Raises:
            TextkdError: one of them is a text, not its words.
        """
        found = []
        for number, words in enumerate(sentences):
            if isinstance(words, str):
                fix = "give lists of words, or entities(texts)"
                raise fail(f"sentences[{number}]", f"the text {words!r}"[:120], fix=fix)
            logits = np.full((len(words), len(self.labels)), np.nan, np.float32)
            if words:
                (row,) = self.encoded([" ".join(words)])
                firsts = first_pieces(words, row.offsets)
                answers = self.run([row])[0]
                for piece, word in enumerate(firsts):
                    if word is not None:
                        logits[word] = answers[piece]
            found.append(logits)
        return found

    def _tags(self, logits: Array) -> list[str]:
        names = self.labels
        return ["O" if np.isnan(row).any() else names[int(row.argmax())] for row in logits]


def _words(text: Any) -> tuple[list[str], list[tuple[int, int]]]:
    """The words of a text and where each stands in it."""
    if not isinstance(text, str):
        if not isinstance(text, Sequence) or not all(isinstance(word, str) for word in text):
            raise fail("a text", f"{text!r}"[:120], fix="give strings, or lists of words")
        words, text = list(text), " ".join(text)
        places, at = [], 0
        for word in words:
            places.append((at, at + len(word)))
            at += len(word) + 1
        return words, places
    words, places, at = text.split(), [], 0
    for word in words:
        at = text.index(word, at)
        places.append((at, at + len(word)))
        at += len(word)
    return words, places
