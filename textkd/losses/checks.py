"""What is wrong with the use of a loss, told before anything runs: its options, and what it asks of the training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from textkd.errors import Problem, problem
from textkd.losses.entry import Loss
from textkd.losses.options import Option, fits, say


def check_options(entry: Loss, options: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with the options of a loss: unknown and missing names, wrong types, values out of range.

    A scheduled temperature is checked by its schedule: leave it out here or give one of its values.

    Args:
        entry: the loss.
        options: those of a match.

    Returns:
        Problems, to be raised; none where all is right.

    Example:
        >>> from textkd import losses
        >>> print(check_options(losses.get("kl", "logits"), {"temperature": -1})[0].found)
        temperature takes a number > 0
    """
    known = {option.name: option for option in entry.options}
    problems: list[Problem] = []
    for name, value in options.items():
        if name not in known:
            fix = f"its options: {', '.join(known) or 'none'}"
            asked = f"the option {name} of the loss {entry.name}"
            problems.append(problem(asked, "no such option", near=(name, known), fix=fix, where=str(name)))
        elif not fits(value, known[name].annotation):
            problems.append(_wrong(entry, known[name], value))
    for option in entry.options:
        if option.required and option.name not in options:
            fix = f"give {option.name}: {say(option.annotation)}"
            asked = f"the option {option.name} of the loss {entry.name}"
            problems.append(problem(asked, "it is missing and has no default", fix=fix, where=option.name))
    return problems


def engine_problems(
    loss: Loss,
    options: Mapping[str, Any],
    *,
    target_gradient: bool = False,
    own_encoding: bool = False,
    sides: Iterable[tuple[str, Sequence[object]]] = (),
) -> list[Problem]:
    """What a loss promises with these options and the training around it does not give.

    Args:
        loss: the loss.
        options: those of the match.
        target_gradient: whether a gradient gets from the match into its target.
        own_encoding: whether student and teacher each read a sample in an encoding of their own.
        sides: (the recipe's word, its taps) for each side of the match.

    Returns:
        Problems, to be raised; none where all is right.

    Example:
        >>> from textkd import losses
        >>> engine_problems(losses.get("mse", "hidden"), {})
        []
    """
    problems, to_target = [], loss.target_gradient(options)
    asked = f'loss "{loss.name}"' + (f" with {_written(options)}" if options else "")
    if to_target == "trains" and not target_gradient:
        what = "it also trains the model that gives the target, and this match sends no gradient there"
        fix = "where that model is trained in this run: target_gradient: true in the match; where it is not: "
        fix += f"options: {_written(loss.stops_with)}" if loss.stops_with else "a loss that trains the student only"
        problems.append(problem(asked, what, fix=fix, where="loss"))
    if to_target == "stops" and target_gradient:
        other = {name: not value for name, value in loss.stops_with.items() if isinstance(value, bool)}
        fix = "target_gradient: false" + (f", or options: {_written(other)}" if other else ", or another loss")
        what = f"{asked} sends no gradient into its target"
        problems.append(problem("target_gradient: true", what, fix=fix, where="target_gradient"))
    if loss.needs_own_encoding and not own_encoding:
        what = "it is for a student and a teacher with different tokenizers, and a run uses one for both"
        fix = "loss: kl (one vocabulary); for two, call the loss from Python with the teacher as [logits, mask]"
        problems.append(problem(asked, what, fix=fix, where="loss"))
    return problems + [p for side in sides if loss.distinct for p in _repeated(asked, *side)]


def _repeated(asked: str, where: str, taps: Sequence[object]) -> list[Problem]:
    """One problem for each tap that is named more than once."""
    written = [str(tap) for tap in taps]
    what = "it compares what lies between its taps, so they have to be different ones"
    return [
        problem(f"{tap} {written.count(tap)} times for {asked}", what, fix="name every tap once", where=where)
        for tap in dict.fromkeys(written)
        if written.count(tap) > 1
    ]


def _written(options: Mapping[str, Any]) -> str:
    """Options as a recipe writes them."""
    words = {True: "true", False: "false", None: "null"}
    shown = (f"{name}: {words[v] if v is None or isinstance(v, bool) else v}" for name, v in options.items())
    return "{" + ", ".join(shown) + "}"


def _wrong(entry: Loss, option: Option, value: Any) -> Problem:
    choices = [c for c in get_args(option.annotation) if isinstance(c, str)]
    fix = f"give {say(option.annotation)}"
    if isinstance(value, str) and _reads_as_number(value) and not choices:
        fix += f"; in YAML write it unquoted and with a dot: {float(value)!r}"
    return problem(
        f"{option.name}={value!r} for the loss {entry.name}",
        f"{option.name} takes {say(option.annotation)}",
        near=(str(value), choices) if choices else None,
        fix=fix,
        where=option.name,
    )


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
