"""Outputs over named classes: the arguments of their head, and whether a model's classes are the task's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from textkd.errors import Problem, fail, problem
from textkd.tasks.output import Output


class Named(Output):
    """An output whose head has one logit for each of `names`, in their order; a function gives them where they are only
    known once the data is read."""

    def __init__(self, names: Sequence[str] | Callable[[], Sequence[str]], name: str = "task") -> None:
        self._names, self.name = names, name

    @property
    def names(self) -> list[str]:
        """The names of the logits, in their order."""
        return list(self._names() if callable(self._names) else self._names)

    @property
    def labels(self) -> list[str] | None:
        return self.names

    def head(self) -> dict[str, Any]:
        """num_labels, id2label, label2id and, where there is one, problem_type."""
        names = self.names
        labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        kind = {"problem_type": self.problem_type} if self.problem_type else {}
        return {"num_labels": len(names), **labels, **kind}

    def fits(self, model: Any, processor: Any) -> list[Problem]:
        """Where the outputs of a model and the classes of the task differ in number or order. Names that the task does
        not have (LABEL_0, ...) say nothing about the order."""
        asked, count, names = f"{self.name} with {type(model).__name__}", getattr(model, "num_labels", None), self.names
        if count is None:
            return []
        if count != len(names):
            what = f"a head of {count} outputs; the task has {len(names)}"
            return [problem(asked, what, fix="a model that was trained on this task, or finetune it on the task first")]
        own = [str(model.config.id2label[i]) for i in sorted(model.config.id2label)]
        low_own, low_names = ([name.lower() for name in part] for part in (own, names))
        if low_own != low_names and sorted(low_own) == sorted(low_names):
            fix = "correct id2label in its config.json where it is wrong; else take a model with the task's order"
            return [problem(asked, f"labels in the order {own}; the task has {names}", fix=fix)]
        return []

    def refuse_nan(self, values: np.ndarray[Any, Any], rows: int, of: int) -> None:
        """Raises `TextkdError` where `rows` of `of` rows hold NaN."""
        if rows:
            fix = "the training diverged: a lower learning rate, bf16 instead of fp16"
            raise fail(f"finite predictions on {self.name}", f"NaN in {rows} of {of} rows", fix=fix)

    def refuse_other_number(self, predictions: int, labels: int) -> None:
        """Raises `TextkdError` for no labels, or where there is not one prediction for each."""
        if predictions != labels or not labels:
            found = f"{predictions} predictions, {labels} labels"
            raise fail(f"one prediction for each label of {self.name}", found)
