"""Word error rate as an `evaluate` module, counted by jiwer.

`evaluate` copies this file and imports the copy, so it imports libraries only.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import jiwer


class SplitWords(jiwer.AbstractTransform):
    """Text -> its words. jiwer's own splitting knows the space alone, and would keep words at a tab together."""

    def process_list(self, inp: list[str]) -> Any:
        return [text.split() for text in inp]


WORDS = jiwer.Compose([SplitWords()])


class Wer(evaluate.Metric):  # type: ignore[misc]
    """wer: edits (substitutions, insertions, deletions) of words in all lines divided by the words of all references.

    Words are what white space of any kind separates; case and punctuation count. The rate is of the corpus and can pass
    1. References without a word are treated as `cer` treats empty ones.
    """

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in ("default", "wer"):
            raise KeyError(f"wer has one config_name, default; found {self.config_name!r}")
        return evaluate.MetricInfo(
            description="Word error rate of the corpus.",
            citation="Levenshtein 1966, Binary codes capable of correcting deletions, insertions and reversals; jiwer",
            inputs_description="predictions and references: [N] strings",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"wer": float(jiwer.process_words(references, predictions, WORDS, WORDS).wer)}
