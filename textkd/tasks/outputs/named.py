"""Outputs over named classes: the arguments of their head, and whether a model's classes are the task's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from textkd.errors import Problem, fail, problem
from textkd.models.forward import inputs_of, try_rows
from textkd.models.label_names import FOREIGN, OTHER_ORDER, SAME, UNNAMED, compared, label_names
from textkd.models.no_code import from_pretrained
from textkd.tasks.output import FORWARD, Output

CLOSE = 0.02  # as a share of the logits: bf16 and TF32 are no other model


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
        """Where the outputs of a model and the classes of the task differ in number or order."""
        asked, count, names = f"{self.name} with {type(model).__name__}", getattr(model, "num_labels", None), self.names
        if count is None:
            return []
        if count != len(names):
            what = f"a head of {count} outputs; the task has {len(names)}"
            return [problem(asked, what, fix="a model that was trained on this task, or finetune it on the task first")]
        own = label_names(model)
        if compared(own, names) == OTHER_ORDER:
            near = {one: names[i] for one in own for i in range(len(names)) if compared([one], [names[i]]) == SAME}
            order = [near.get(one, one) for one in own]
            fix = "correct id2label in its config.json where it is wrong; "
            fix += f"else labels: {order} of the task" if self.takes_labels else "else a model with the task's order"
            return [problem(asked, f"labels in the order {own}; the task has {names}", fix=fix)]
        return []

    def tried(self, model: Any, batch: Mapping[str, Any]) -> list[Problem]:
        """Whether its forward gives a tensor of `logits`, one for each name."""
        asked = f"the answers of {type(model).__name__} to {self.name}"
        logits, failed = try_rows(model, lambda one: one(**inputs_of(one, batch))["logits"])
        if failed:
            return [problem(asked, failed, fix=FORWARD)]
        wanted = (2 + self.per_token, len(self.names))
        plain = wanted[1] == 1 and logits.dim() == 1  # a number for each row, without a dimension of its own
        if plain or (logits.dim(), logits.shape[-1]) == wanted:
            return []
        found = f"logits of shape {list(logits.shape)}"
        return [problem(asked, found, fix=f"{wanted[0]} dimensions, the last one of {wanted[1]}")]

    def strange(self, model: Any) -> list[Problem]:
        """Names that are not the task's: nobody knows which of them is which."""
        own, names = self._names_of(model), self.names
        if own is None or compared(own, names) != FOREIGN:
            return []
        written = json.dumps({str(i): name for i, name in enumerate(names)})
        fix = f'"id2label": {written} in its config.json, or these names in the order that its outputs have; '
        found = f"its labels are {own}; the task has {names}"
        return [problem(f"{self.name} with {type(model).__name__}", found, fix=f"{fix}else finetune it on the task")]

    def on_trust(self, model: Any) -> list[str]:
        """That the order of its outputs is the task's, where it has no names for them."""
        own, names = self._names_of(model), self.names
        if own is None or compared(own, names) != UNNAMED:
            return []
        return [f"its labels are {_few(own)}: names that say nothing, they were taken as {_few(names)}, in this order"]

    def _names_of(self, model: Any) -> list[str] | None:
        """What a model calls its outputs, where these can be the task's classes."""
        if self.labels is None or getattr(getattr(model, "config", None), "id2label", None) is None:
            return None
        own = label_names(model)
        return own if len(own) == len(self.names) else None

    def configure(self, model: Any, processor: Any, rows: Any) -> None:
        """Names the outputs as the task does, in whose order they were trained."""
        for name, value in self.head().items():
            if name != "num_labels" and hasattr(model, "config"):
                setattr(model.config, name, value)

    def plain(self, folder: str, device: Any) -> tuple[Any, Any]:
        """The tokenizer and the model of a published folder, as plain transformers loads them."""
        return from_pretrained(AutoTokenizer, folder), from_pretrained(self.auto_class, folder).eval().to(device)

    def other_names(self, model: Any) -> str:
        """Names of a published model that are not the task's; "" where they are."""
        own = label_names(model)
        return "" if self.labels is None or own == self.names else f"its labels are {own}, not {self.names}"

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


def is_close(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays of logits are those of one model on one text, run in other batches."""
    return one.shape == other.shape and bool(np.all(np.abs(one - other) <= CLOSE * (1 + np.abs(other).max(initial=0))))


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
