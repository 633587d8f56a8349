"""Do two shapes fit a loss? Asked before training, where some sizes may be unknown, and again at step 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textkd.errors import Problem, problem
from textkd.losses.entry import Loss

Shape = Sequence[int | None]
# The axes of each family by name, for every rank that it allows.
_AXES = {
    "logits": (("batch", "classes"), ("batch", "length", "classes")),
    "hidden": (("batch", "width"), ("batch", "length", "width")),
    "attention": (("batch", "heads", "queries", "keys"),),
    "scores": (("batch", "heads", "queries", "keys"),),
    "heads": (("batch", "heads", "length", "head width"),),
}
_LENGTH = (
    "student and teacher read different sequences: give both one tokenizer (images: one size, one size of patches)"
)
_FIX = {
    "classes": "give student and teacher the same labels (or vocabulary), in the same order",
    "width": "use a projection (linear is the default)",
    "head width": "give the student the same head width, or match hidden states or a loss of relations instead",
    "batch": "both sides must see the same samples",
    "length": _LENGTH,
    "queries": _LENGTH,
    "keys": _LENGTH,
}
_WIDTHS = ("width", "heads", "head width", "classes")


def check_shapes(
    entry: Loss, student: Shape, teacher: Shape, options: Mapping[str, Any] | None = None
) -> list[Problem]:
    """Everything wrong with a pair of shapes for a loss.

    Args:
        entry: the loss.
        student: the shape of the student's tap, as [B, T, H]; None is a size that is not known yet and fits all. For
            the family "labels", that of the logits.
        teacher: the shape of the teacher's tap; for the family "labels", that of the labels.
        options: of the loss; some let widths differ.

    Returns:
        Problems, to be raised; none where the shapes fit.

    Example:
        >>> from textkd import losses
        >>> print(check_shapes(losses.get("mse", "hidden"), (None, 5, 8), (None, 5, 16))[0])
        asked: hidden/mse: student [?, 5, 8], teacher [?, 5, 16]
          found: width: 8 against 16
          fix: use a projection (linear is the default)
    """
    if entry.family == "labels":
        return _check_labels(entry, student, teacher)
    asked = f"{entry.family}/{entry.name}: student {_say(student)}, teacher {_say(teacher)}"
    allowed = [names for names in _AXES[entry.family] if len(names) > 2 or not entry.tokens]
    axes = next((names for names in allowed if len(names) == len(student)), None)
    if axes is None or len(student) != len(teacher):
        wanted = " or ".join(f"[{', '.join(names)}]" for names in allowed)
        what = f"{entry.name} compares positions: it takes" if entry.tokens else f"{entry.family} has"
        return [problem(asked, f"{what} {wanted}", fix="match taps of one kind")]
    problems, any_width = [], entry.fits_any_width(options or {})
    for name, mine, its in zip(axes, student, teacher, strict=True):
        if _differ(mine, its) and not (any_width and name in _WIDTHS):
            fix = _heads(entry) if name == "heads" else _FIX[name]
            problems.append(problem(asked, f"{name}: {mine} against {its}", fix=fix))
    if entry.family == "logits":
        problems += _check_classes(entry, asked, student[-1])
    return problems


def _heads(entry: Loss) -> str:
    """What to do where the numbers of heads differ: some losses make one map of them first."""
    rest = "give the student as many heads, or match hidden states or a loss of relations"
    if entry.any_width_if:
        return " or ".join(f"options: {{{name}: {values[0]}}}" for name, values in entry.any_width_if.items()) + (
            f" compares one map of all heads; else {rest}"
        )
    if entry.family in ("attention", "scores"):
        return f"loss: mse with options: {{heads: mean}} compares one map of all heads; else {rest}"
    return rest


def _check_labels(entry: Loss, logits: Shape, labels: Shape) -> list[Problem]:
    asked = f"labels/{entry.name}: logits {_say(logits)}, labels {_say(labels)}"
    ids, per_class = entry.targets == "ids", entry.targets == "flags"
    flat = len(logits) == len(labels) + 1 and (ids or logits[-1] in (None, 1)) and not per_class
    same = len(logits) == len(labels) and not ids
    if not flat and not same:
        fix = "class ids are [B], numbers of a regression [B], flags [B,C]"
        return [problem(asked, "the labels do not fit the logits", fix=fix)]
    differing = [(m, n) for m, n in zip(logits, labels, strict=False) if _differ(m, n)]
    problems = [problem(asked, f"{m} against {n}", fix="check the task's labels and num_labels") for m, n in differing]
    return problems + _check_classes(entry, asked, logits[-1])


def _check_classes(entry: Loss, asked: str, classes: int | None) -> list[Problem]:
    if classes is None or classes >= entry.min_classes:
        return []
    found = f"{classes} class: the loss {entry.name} needs {entry.min_classes}, with fewer it is always the same"
    return [problem(asked, found, fix="use mse (regression) or bce (multi-label)")]


def _differ(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one != other


def _say(shape: Shape) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
