"""Entity precision, recall and F1 over the tags of words as an `evaluate` module.

Definitions: those of seqeval 1.2.2 in its default mode (that of the CoNLL-2000 script conlleval). `evaluate` copies
this file and imports the copy, so it imports by whole names only.
"""

from __future__ import annotations

import datasets
import evaluate

from textkd.models.tagged_words import spans


class Entities(evaluate.Metric):  # type: ignore[misc]
    """precision, recall, f1 of all entities together (micro): one counts as found where type, first and last word are
    all right. accuracy: the share of words with the right tag. What would be divided by zero is 0.0."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in ("default", "entities"):
            raise KeyError(f"entities has one config_name, default; found {self.config_name!r}")
        tags = datasets.List(datasets.Value("string"))
        return evaluate.MetricInfo(
            description="Entity precision, recall and F1, and the accuracy of tags.",
            citation="Tjong Kim Sang and Buchholz 2000, Introduction to the CoNLL-2000 shared task: chunking; seqeval",
            inputs_description="predictions and references: [N] lists of tags, one for each word",
            features=datasets.Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: list[list[str]], references: list[list[str]]) -> dict[str, float]:
        said = {(i, *span) for i, tags in enumerate(predictions) for span in spans(tags)}
        true = {(i, *span) for i, tags in enumerate(references) for span in spans(tags)}
        right = len(said & true)
        precision, recall = (right / len(part) if part else 0.0 for part in (said, true))
        words = [
            a == b for one, other in zip(predictions, references, strict=True) for a, b in zip(one, other, strict=True)
        ]
        return {
            "precision": precision, "recall": recall,
            "f1": 2 * precision * recall / (precision + recall) if right else 0.0,
            "accuracy": sum(words) / len(words) if words else 0.0,
        }  # fmt: skip
