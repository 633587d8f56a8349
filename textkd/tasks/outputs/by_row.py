"""Outputs that answer once for each row, from logits [N, C]."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from textkd.tasks import metrics
from textkd.tasks.output import EXAMPLES, Examples
from textkd.tasks.outputs.counts import agreement, counted, rows_lost, texts_of
from textkd.tasks.outputs.named import Named, is_close
from textkd.tasks.predict import predict

Array = np.ndarray[Any, Any]
CORRELATIONS = ("pearson", "spearmanr", "matthews_correlation")


class ByRow(Named):
    """One answer for each row. metric: (module, config_name) of `textkd.tasks.metrics`, by default that of text
    classification; metric_names: those of its values that count, the main one first."""

    auto_class = AutoModelForSequenceClassification
    kind = "classification"  # config_name of the usual metrics
    usual: tuple[str, ...] = ()  # the names of the usual metrics
    number: type[np.generic] = np.int64  # of an answer

    def __init__(
        self,
        names: Sequence[str] | Callable[[], Sequence[str]],
        name: str = "task",
        metric: tuple[str, str] | None = None,
        metric_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(names, name)
        self.metric = metric or ("text_classification", self.kind)
        self.metric_names = list(metric_names or self.usual)

    @abstractmethod
    def answers(self, logits: Array) -> Array:
        """Finite logits -> answers."""

    @abstractmethod
    def word(self, answer: Any) -> Any:
        """An answer as a report shows it."""

    @abstractmethod
    def certainty(self, logits: Array) -> Array:
        """[N] probabilities of the answers."""

    def predict(self, model: Any, rows: Any, collator: Any) -> Array:
        """Logits [N, C] in the rows' order."""
        return predict(model, rows, collator)

    def references(self, rows: Any) -> Array:
        return np.asarray(rows["labels"])

    def decide(self, predictions: Any) -> Array:
        """Logits [N, C] -> the answer of each row."""
        values = np.asarray(predictions)
        if values.dtype.kind == "f" and np.isnan(values).any():
            self.refuse_nan(values, int(np.isnan(values.reshape(len(values), -1)).any(axis=1).sum()), len(values))
        return self.answers(values)

    def compute_metrics(self, predictions: Any, references: Any) -> dict[str, float]:
        """Logits and labels -> the metrics by name. A correlation that is undefined is 0.0; `doubts` tells of it."""
        decided, truth = self.decide(predictions), np.asarray(references)
        self.refuse_other_number(len(decided), len(truth))
        values = metrics.load(*self.metric).compute(predictions=decided, references=truth.astype(self.number))
        return {name: float(values[name]) for name in self.metric_names}

    def doubts(self, predictions: Any, references: Any) -> list[str]:
        """One answer for all rows, a correlation that is none."""
        decided, truth = self.decide(predictions), np.asarray(references)
        found, rows = [], len(truth)
        names = " and ".join(name for name in self.metric_names if name in CORRELATIONS)
        if rows > 1 and (decided == decided[0]).all():
            found.append(f"all {rows} predictions were {decided[0]}")
        if names and rows == 1:
            found.append(f"{names} of one row: undefined, counted as 0")
        elif names and (truth == truth[0]).all():
            found.append(f"all {rows} labels are {truth[0]}: {names} undefined, counted as 0")
        return found

    def same(self, before: Any, after: Any) -> float | None:
        """The share of rows with the same answer."""
        return float(_same(self.decide(before), self.decide(after)).mean())

    def lost(self, before: Any, after: Any, references: Any) -> str:
        """How many rows were right and are wrong, and of which labels most."""
        truth = np.asarray(references)
        was, now = _same(self.decide(before), truth), _same(self.decide(after), truth)
        return rows_lost([self.word(one) for one in truth[was & ~now]], int(was.sum()))

    def differ(self, folder: str, shown: Sequence[Any], rows: Sequence[Any], said: Sequence[Any], device: Any) -> str:
        """Logits of the texts, one by one, as the folder's own tokenizer cuts them, and the names of the outputs."""
        texts = [texts_of(row) for row in shown]
        if not all("text_a" in row for row in texts):
            return ""
        columns = [[row[name] for row in texts] for name in ("text_a", "text_b") if all(name in row for row in texts)]
        tokenizer, model = self.plain(folder, device)
        with torch.inference_mode():
            logits = [
                model(**tokenizer(*[[text] for text in row], truncation=True, return_tensors="pt").to(device)).logits[0]
                for row in zip(*columns, strict=True)
            ]
        far = [
            not is_close(one.float().cpu().numpy(), np.asarray(other)) for one, other in zip(logits, said, strict=True)
        ]
        return counted(sum(far), len(rows), "other logits") or self.other_names(model)

    def examples(self, shown: Any, rows: Any, said: Mapping[str, Any], between: tuple[str, str]) -> Examples:
        """The rows in which two models say different things, the surest first, and how many rows each of them has
        right."""
        truth, answers = self.references(rows), {model: self.decide(values) for model, values in said.items()}
        right = {model: _same(values, truth) for model, values in answers.items()}
        sure = {model: self.certainty(np.asarray(values)) for model, values in said.items()}
        one, other = between
        differ = np.flatnonzero(~_same(answers[one], answers[other]))
        order = sorted(differ, key=lambda i: -(sure[one][i] + sure[other][i]))[:EXAMPLES]
        examples = [
            {
                **texts_of(shown[int(i)]), "label": self.word(truth[i]),
                "said": {model: self.word(values[i]) for model, values in answers.items()},
                "sure": {model: float(values[i]) for model, values in sure.items()},
            }
            for i in order
        ]  # fmt: skip
        return Examples({"counts": agreement(right[one], right[other]), "examples": examples})


def _same(one: Array, other: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    same = np.atleast_1d(np.equal(one, other))
    return np.asarray(same.reshape(len(same), -1).all(axis=-1))
