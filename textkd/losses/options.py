"""Options of a loss: read from its signature, and what their annotations allow."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import nn

from textkd.errors import fail

# what the core hands to a class of losses that asks for it: rows of the training data, tokens that the student writes,
# and how its encoder's patches lie (`projections.Grid`, None without patches)
KNOWN = ("rows", "vocabulary", "grid")


@dataclass(frozen=True)
class Range:
    """Bounds of a number in the annotation of an option: `Annotated[float, Range(0, 1)]`.

    Args:
        low: the least value.
        high: the largest value.
        open_low: leaves `low` itself out.

    Example:
        >>> Range(0, open_low=True).holds(0.0), str(Range(0, 1))
        (False, 'from 0 to 1')
    """

    low: float
    high: float = math.inf
    open_low: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'>' if self.open_low else '>='} {self.low:g}"
        return f"{'above' if self.open_low else 'from'} {self.low:g} to {self.high:g}"


Positive = Annotated[float, Range(0.0, open_low=True)]
NonNegative = Annotated[float, Range(0.0)]
Fraction = Annotated[float, Range(0.0, 1.0)]


@dataclass(frozen=True)
class Option:
    """A keyword option of a loss.

    Args:
        name: of the parameter.
        annotation: of the parameter; recipes are checked by it.
        default: `inspect.Parameter.empty` where the option must be given.

    Example:
        >>> from textkd import losses
        >>> option = losses.get("kl", "logits").options[0]
        >>> option.name, option.default, option.required
        ('temperature', 1.0, False)
    """

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def read_options(name: str, fn: Callable[..., Any]) -> tuple[Option, ...]:
    """The options of `fn(student, teacher, mask=None, *, options)`. Raises TextkdError for another signature."""
    target = fn.forward if isinstance(fn, nn.Module) else fn
    return _options(_keywords(name, target, "def loss(student, teacher, mask=None, *, my_option: float = 1.0)"), target)


def read_state(name: str, kind: type) -> tuple[Option, ...]:
    """The options of a class of modules ``__init__(self, student, teacher, *, options)`` whose ``forward`` is a loss.

    What is of `KNOWN` is given to a class that asks for it and is no option. Raises TextkdError for other
    signatures."""
    if not issubclass(kind, nn.Module):
        raise fail(f"the loss {name}", f"the class {kind.__name__} is no nn.Module", fix="give a function or a module")
    _keywords(name, kind.forward, "def forward(self, student, teacher, mask=None)", skip=1)
    parameters = list(inspect.signature(kind).parameters.values())
    if len(parameters) < 2 or any(p.kind is not p.KEYWORD_ONLY for p in parameters[2:]):
        shown = ", ".join(str(p) for p in parameters)
        fix = "write it as def __init__(self, student, teacher, *, my_option: float = 1.0), with the shapes of the taps"
        raise fail(f"the loss {name}", f"its class takes ({shown})", fix=fix)
    return _options([p for p in parameters[2:] if p.name not in KNOWN], kind.__init__)


def _keywords(name: str, target: Callable[..., Any], example: str, skip: int = 0) -> list[inspect.Parameter]:
    """What a loss takes beside (student, teacher, mask=None)."""
    asked, fix = f"the loss {name}", f"write it as {example}"
    try:
        parameters = list(inspect.signature(target).parameters.values())[skip:]
    except (TypeError, ValueError) as error:
        raise fail(asked, f"{target!r} has no readable signature", fix=fix) from error
    tensors = [p for p in parameters[:2] if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "mask"]
    mask = next((p for p in parameters[2:] if p.name == "mask" and p.kind is not p.POSITIONAL_ONLY), None)
    if len(tensors) != 2 or mask is None:
        shown = ", ".join(str(p) for p in parameters)
        raise fail(asked, f"it takes ({shown}), not (student, teacher, mask=None)", fix=fix)
    skipped = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return [p for p in parameters[2:] if p is not mask and p.kind not in skipped]


def _options(parameters: Sequence[inspect.Parameter], target: Callable[..., Any]) -> tuple[Option, ...]:
    known = hints(target)
    return tuple(Option(p.name, known.get(p.name, Any), p.default) for p in parameters)


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value of a recipe fits an annotation. Unknown kinds of annotation let everything pass."""
    if annotation is Any or annotation is inspect.Parameter.empty:
        return True
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [a for a in args[1:] if isinstance(a, Range)]
        return fits(value, args[0]) and all(not _is_number(value) or bound.holds(value) for bound in bounds)
    if origin in (Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return any(type(value) is type(arg) and value == arg for arg in args)
    if origin in (list, tuple, Sequence):
        return isinstance(value, (list, tuple)) and all(fits(item, args[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(fits(item, args[1]) for item in value.values())
    return _fits_class(value, origin or annotation)


def say(annotation: Any) -> str:
    """An annotation in words: `one of 'mean', 'sum'`, `a number > 0`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return " ".join([say(args[0]), *(str(a) for a in args[1:] if isinstance(a, Range))])
    if origin in (Union, types.UnionType):
        return " or ".join(say(arg) for arg in args)
    if origin is Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(repr(arg) for arg in args)
    if origin in (list, tuple, Sequence):
        return f"a list of which each is {say(args[0])}" if args[0] is not Any else "a list"
    if origin is Mapping:
        return f"a block of which each value is {say(args[1])}" if args[1] is not Any else "a block"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return f"one of {', '.join(repr(one.value) for one in annotation)}"
    words = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", type(None): "null",
             Any: "anything", Path: "a path"}  # fmt: skip
    return words.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _fits_class(value: Any, kind: Any) -> bool:
    if kind is float:
        return _is_number(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind) if isinstance(kind, type) else True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def hints(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, or of what it is a part of."""
    inner = getattr(target, "func", target)
    if not inspect.isroutine(inner):
        inner = type(inner).__call__
    try:
        return get_type_hints(inner, include_extras=True)
    except (NameError, TypeError):  # a user's annotation that cannot be resolved: no check instead of no loss
        return {}
