"""The names of a model's outputs, beside others: whether output 0 means the same to both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from textkd.errors import Problem, problem

SAME, OTHER_ORDER, UNNAMED, FOREIGN = "the same", "the same names in another order", "no names", "other names"


def label_names(model: Any) -> list[str]:
    """The names in a model's config, in the order of its outputs."""
    return [str(model.config.id2label[i]) for i in sorted(model.config.id2label)]


def compared(own: Sequence[str], others: Sequence[str]) -> str:
    """How two lists of as many names stand to each other.

    Case, spaces, underscores and hyphens make no difference, unless that would make one of two different names. Of
    names that only count (LABEL_0, LABEL_1, ... or 0, 1, ...) nothing is known.

    Returns:
        SAME, OTHER_ORDER, UNNAMED or FOREIGN.

    Example:
        >>> compared(["not allowed", "Allowed"], ["allowed", "not_allowed"])
        'the same names in another order'
    """
    for plain in (_plain, str.casefold, str):
        one, other = ([plain(name) for name in names] for names in (own, others))
        if len(set(one)) == len(own) and len(set(other)) == len(others):
            break
    if one == other:
        return SAME
    if sorted(one) == sorted(other):
        return OTHER_ORDER
    return UNNAMED if counts_only(own) else FOREIGN


def counts_only(names: Sequence[str]) -> bool:
    """Whether names say nothing but their number: transformers' LABEL_0, LABEL_1, ... or 0, 1, ..."""
    counted: list[Callable[[int], str]] = [lambda i: f"LABEL_{i}", str]
    return any(list(names) == [name(i) for i in range(len(names))] for name in counted)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().casefold())


def label_problems(teacher: Any, student: Any) -> Iterator[Problem]:
    """Where teacher and student have another number or order of labels."""
    if not (hasattr(teacher, "num_labels") and hasattr(student, "num_labels")):
        return  # a masked language model has labels in its config and none in its outputs
    names_t, names_s = label_names(teacher), label_names(student)
    if len(names_t) != len(names_s):
        yield problem(
            "the same labels for teacher and student",
            f"{len(names_t)} in the teacher, {len(names_s)} in the student",
            fix=f"load the student with num_labels={len(names_t)}, or finetune the teacher on this task",
        )
        return
    found = compared(names_t, names_s)
    if found in (SAME, UNNAMED) or counts_only(names_s):
        return
    yield problem(
        "the same labels in the same order for teacher and student",
        f"{found}: {names_t} in the teacher, {names_s} in the student",
        fix="load the student with the teacher's id2label and label2id; label 0 must mean the same to both",
    )
