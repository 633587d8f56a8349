"""TrainingArguments that change nothing. Those of the optimizer and of the schedule of its rate are found by making
both with the argument and without it; the rest stands in a table (`read_beside`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from textkd.errors import Problem, problem
from textkd.training.arguments import make_arguments
from textkd.training.environment import kept_environment
from textkd.training.read_beside import given, idle, is_default, take_out
from textkd.training.tried_arguments import optimizer_and_schedule

OPTIM, SCHEDULE = "optim", "lr_scheduler_type"
# arguments of the two, and which of them reads each
OF_PARTS = {
    "adam_beta1": OPTIM, "adam_beta2": OPTIM, "adam_epsilon": OPTIM, "weight_decay": OPTIM,
    "optim_target_modules": OPTIM, "warmup_steps": SCHEDULE, "warmup_ratio": SCHEDULE,
}  # fmt: skip
OF_WORDS = {"optim_args": OPTIM, "lr_scheduler_kwargs": SCHEDULE}
# all that the two are made of: a bad value elsewhere hides nothing
READ_BY_PARTS = {*OF_PARTS, *OF_WORDS, OPTIM, SCHEDULE, "learning_rate", "gradient_accumulation_steps"}
LEAST_STEPS, MOST_STEPS, MOMENTS = 1000, 10**9, 2000  # of a schedule, and at how many it is looked at

Whole = Mapping[str, Any]


def unread_problems(values: Whole, wholes: Sequence[Whole]) -> list[Problem]:
    """What of a block of TrainingArguments changes nothing in any of the trainings that it is for.

    Args:
        values: the block.
        wholes: the arguments of each of these trainings, the block's own among them. Where another block overrides a
            value, the training says nothing of it.

    Returns:
        Problems; `where` is the name of the argument. A value that is the default is none, nor is anything in a
        training whose optimizer and schedule cannot be made.

    Example:
        >>> block = {"lr_scheduler_type": "constant", "warmup_steps": 10}
        >>> [one.found for one in unread_problems(block, [block])]
        ['lr_scheduler_type: constant does not read it']
        >>> unread_problems(block, [block, {**block, "lr_scheduler_type": "linear"}])
        []
    """
    found = list[Problem]()
    for name, value in values.items():
        mine = [whole for whole in wholes if name in whole and whole[name] is value]
        if is_default(name, value) or not mine:
            continue
        first, *rest = ({(one.asked, one.where): one for one in _told(name, whole)} for whole in mine)
        found += [one for key, one in first.items() if all(key in other for other in rest)]
    return found


def _told(name: str, whole: Whole) -> Iterator[Problem]:
    value = whole[name]
    if one := idle(name, value, whole):
        yield one
    if name in OF_PARTS:
        steps = _steps(whole)
        made = _made(whole, steps)
        if made is not None and made == _made({key: one for key, one in whole.items() if key != name}, steps):
            yield _unread(name, f"{name}: {value!r}", "it", whole, OF_PARTS[name])
    elif name in OF_WORDS:
        for word, of_word in _unread_words(name, whole):
            asked = f"{name}: {word}={of_word}" if name == "optim_args" else f"{name}: {{{word}: {of_word}}}"
            yield _unread(name, asked, word, whole, OF_WORDS[name])


def _unread(name: str, asked: str, it: str, whole: Whole, part: str) -> Problem:
    chosen = str(getattr(given(whole, part), "value", given(whole, part)))
    return problem(asked, f"{part}: {chosen} does not read {it}", fix=f"{take_out(name)}, or take another {part}",
                   where=name)  # fmt: skip


def _unread_words(name: str, whole: Whole) -> Iterator[tuple[str, Any]]:
    """The words of an argument that holds several, of which another value, or none, makes the same and is taken."""
    steps = _steps(whole)
    if (made := _made(whole, steps)) is None:
        return
    words = _words(name, whole)
    for word, value in words.items():
        without = {key: one for key, one in words.items() if key != word}
        others = [without, *({**words, word: probe} for probe in _probes(value))]
        if all(_made({**whole, name: _written(name, one)}, steps) == made for one in others):
            yield word, value


def _words(name: str, whole: Whole) -> dict[str, Any]:
    with kept_environment():
        value = getattr(make_arguments({name: whole[name]}, "unused"), name)
    if isinstance(value, str):
        return dict(part.split("=", 1) for part in value.replace(" ", "").split(",") if part)
    return dict(value or {})


def _probes(value: Any) -> list[Any]:
    """Other values of the kind of `value`."""
    if str(value).lower() in ("true", "false"):
        return ["false" if str(value).lower() == "true" else "true"] if isinstance(value, str) else [not value]
    try:
        return [0.37, 3] if math.isfinite(float(value)) else [0.37]
    except (TypeError, ValueError):
        return ["linear", "cosine"]


def _written(name: str, words: Mapping[str, Any]) -> Any:
    return ",".join(f"{key}={value}" for key, value in words.items()) if name == "optim_args" else dict(words)


def _steps(whole: Whole) -> int:
    """Steps of a training in which everything that the schedule counts has room."""
    words = given(whole, "lr_scheduler_kwargs")
    counted = [whole.get("warmup_steps"), *(words.values() if isinstance(words, Mapping) else ())]
    return LEAST_STEPS + 4 * int(sum(one for one in counted if isinstance(one, int | float) and 1 < one < MOST_STEPS))


def _made(whole: Whole, steps: int) -> tuple[Any, ...] | None:
    """Optimizer and schedule in words that can be compared; None where they cannot be made, or seen."""
    try:
        with kept_environment():
            own = {name: value for name, value in whole.items() if name in READ_BY_PARTS}
            optimizer, schedule = optimizer_and_schedule(make_arguments(own, "unused"), steps)
            if hasattr(optimizer, "optimizer_dict"):  # one for each layer, out of sight
                return None
            return _settings(optimizer), _rates(schedule, steps)
    except Exception:  # of whatever library makes the part: what is wrong is told by `argument_problems`
        return None


def _settings(optimizer: Any) -> Any:
    groups = [{key: repr(value) for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    shapes = [[tuple(one.shape) for one in group["params"]] for group in optimizer.param_groups]
    return type(optimizer).__name__, groups, shapes, _plain(optimizer)


def _rates(schedule: Any, steps: int) -> Any:
    near = [step for power in range(steps.bit_length()) for step in (2**power - 1, steps - 2**power)]
    moments = range(steps) if steps < MOMENTS else [*near, *(int(steps * (one * 0.618 % 1)) for one in range(MOMENTS))]
    rates = [one(step) for one in getattr(schedule, "lr_lambdas", [])[:1] for step in moments]
    return type(schedule).__name__, rates, _plain(schedule)


def _plain(part: Any) -> dict[str, str]:
    """The attributes of a part that are numbers and words."""
    return {name: repr(value) for name, value in vars(part).items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)
