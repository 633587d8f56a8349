"""Real examples for the report: where teacher and student differ, or what they read in images of lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from textkd import report

EXAMPLES = 12


def gallery(
    task: Any, data: Any, models: Mapping[str, nn.Module], known: Mapping[str, Sequence[str]] | None = None
) -> list[dict[str, Any]]:
    """Lines of the evaluation set with what the first seed's models read in them. known: what others read."""
    said = {role: task.predict(model, data.eval, data.collator) for role, model in models.items()} | dict(known or {})
    return report.gallery(_Images(data.eval), task.references(data.eval), said)


class _Images(Sequence[Any]):
    """The images of encoded rows, decoded when asked for."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        return self.rows[i]["image"]


def disagreements(task: Any, data: Any, models: Mapping[str, nn.Module]) -> dict[str, Any] | None:
    """Where the first seed's teacher and student differ: counts, and the examples they differ most in."""
    logits = {role: task.predict(model, data.eval, data.collator) for role, model in models.items()}
    rows, truth = task.load("eval"), task.references(data.eval)
    said = {role: task.decide(values) for role, values in logits.items()}
    if task.problem_type == "regression":
        furthest = np.argsort(-np.abs(said["teacher"] - said["student"]), kind="stable")[:EXAMPLES]
        scores = [{role: float(values[i]) for role, values in said.items()} for i in furthest]
        chosen = zip(furthest, scores, strict=True)
        return {"counts": None, "examples": [_example(rows[int(i)], float(truth[i]), s, {}) for i, s in chosen]}
    right = {role: _same(values, truth) for role, values in said.items()}
    teacher, student = right["teacher"], right["student"]
    counts = {
        "both_right": int((teacher & student).sum()), "only_teacher": int((teacher & ~student).sum()),
        "only_student": int((~teacher & student).sum()), "both_wrong": int((~teacher & ~student).sum()),
    }  # fmt: skip
    differ = ~_same(said["teacher"], said["student"])
    surest = {role: _confidence(values, task.problem_type) for role, values in logits.items()}
    order = sorted(np.flatnonzero(differ), key=lambda i: -(surest["teacher"][i] + surest["student"][i]))[:EXAMPLES]
    names = task.labels
    examples = []
    for i in order:
        words = {role: _words(values[i], names) for role, values in said.items()}
        sure = {f"{role}_p": float(values[i]) for role, values in surest.items()}
        examples.append(_example(rows[int(i)], _words(truth[i], names), words, sure))
    return {"counts": counts, "examples": examples}


def _example(row: Mapping[str, Any], label: Any, said: Mapping[str, Any], sure: Mapping[str, float]) -> dict[str, Any]:
    texts = {key: row[key] for key in ("text_a", "text_b") if row.get(key) is not None}
    return {**texts, "label": label, **said, **sure}


def _same(a: Any, b: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    same = np.atleast_1d(np.equal(a, b))
    return np.asarray(same.reshape(len(same), -1).all(axis=-1))


def _confidence(logits: np.ndarray[Any, Any], problem_type: str) -> np.ndarray[Any, Any]:
    """Probability of what was said: of the class, or the least sure of the labels."""
    z = torch.as_tensor(logits)
    if problem_type == "multi_label_classification":
        return torch.sigmoid(z.abs()).amin(-1).numpy()
    return z.softmax(-1).amax(-1).numpy()


def _words(value: Any, names: list[str]) -> str | list[str]:
    if np.ndim(value):
        return [name for name, on in zip(names, value, strict=True) if on]
    return names[int(value)]
