"""Character error rate and the share of exact lines as an `evaluate` module, counted by jiwer.

`evaluate` copies this file and imports the copy, so it imports libraries only.
"""

from __future__ import annotations

import datasets
import evaluate
import jiwer

# no transform of jiwer's own default (it strips white space): every code point counts as it stands
CHARACTERS = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])


class Cer(evaluate.Metric):  # type: ignore[misc]
    """cer: edits (substitutions, insertions, deletions) of all lines divided by the characters of all references.
    exact: the share of lines that are equal.

    A character is a Unicode code point; case, accents and white space count, nothing is normalised, stripped or merged.
    Long lines weigh more than short ones (the rate is of the corpus, not a mean of lines), and it can pass 1. An empty
    reference adds its insertions to the edits and nothing to the characters; if all references are empty, the rate is
    the number of edits (0.0 if all predictions are empty too).
    """

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in ("default", "cer"):
            raise KeyError(f"cer has one config_name, default; found {self.config_name!r}")
        return evaluate.MetricInfo(
            description="Character error rate of the corpus, and the share of exact lines.",
            citation="Levenshtein 1966, Binary codes capable of correcting deletions, insertions and reversals; jiwer",
            inputs_description="predictions and references: [N] strings",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        counts = jiwer.process_characters(references, predictions, CHARACTERS, CHARACTERS)
        exact = sum(a == b for a, b in zip(predictions, references, strict=True))
        return {"cer": float(counts.cer), "exact": exact / len(references)}
