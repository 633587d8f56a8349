"""The table of losses, keyed by the family of taps that they compare and by name.

@register("kl", family="logits", source="Hinton et al. 2015, arXiv:1503.02531", formula="T^2 * KL(p_t || p_s)")
def kl(student, teacher, mask=None, *, temperature: Positive = 1.0): ...

A loss that owns state (weights, a memory bank) is an nn.Module class; it is built once the shapes are known and lives
on the student, like a projection:

@register("vid", family="hidden", any_width=True)
class VariationalInformation(nn.Module):
    def __init__(self, student: Shape, teacher: Shape, *, init_variance: Positive = 5.0): ...
    def forward(self, student, teacher, mask=None): ...
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from textkd.errors import fail
from textkd.losses.linear import LinearLogits
from textkd.losses.masking import widen
from textkd.losses.options import Option, read_options, read_state

FAMILIES = {
    "labels": "logits and the task's labels",
    "logits": "logits [B,C] or [B,T,V]",
    "hidden": "vectors [B,T,H] or [B,H]: hidden, embeddings, pooled, ffn, module",
    "attention": "attention probabilities [B,h,T,T]",
    "scores": "raw scaled attention scores without mask [B,h,T,T]",
    "heads": "query, key or value [B,h,T,d]",
}
UNITS = ("row", "position", "pair")
NEEDS = ("labels", "example_id", "progress", "marks")
_ENTRIES: dict[tuple[str, str], Loss] = {}
_F = TypeVar("_F", bound=Callable[..., Any])
Taps = Tensor | LinearLogits | Sequence[Tensor]
Arity = Literal["", "layers", "kinds"]
Targets = Literal["ids", "numbers", "flags"]
Reads = Literal["logits", "softmax", "shares"]


@dataclass(frozen=True)
class Loss:
    """One registered loss. Called as `loss(student, teacher, mask, **options)`, it returns a scalar tensor.

    name, family: the key. fn: the function. options: its keyword options. source: paper or code. formula: one line.
    needs: what else of the step `fn` takes by keyword, which are not options, of `NEEDS`: labels [B] or [B,T] (-100:
    none), example_id [B] row numbers of the data set, progress: the share of the training that is done, marks [B,T]
    where in the image each label stands (share of the width, NaN: not known).
    arity: "" for one tap of each side; else lists of taps come: "layers" all pairs of the layer map in one call,
    "kinds" the kinds of tap that the match lists, of one pair of blocks.
    any_width: the last axes of student and teacher may differ (relations between positions or samples). any_width_if:
    option values with which they may. padding_if: option values with which taps at padded positions matter.
    min_classes: fewer classes than this make the loss constant (softmax over one class is always 1).
    per: what the mean of the loss runs over: "row" (sample), "position" (valid token; a sample where there are no
    tokens), "pair" (valid query x key). per_row_if: option values with which it runs over rows instead. See `unit`.
    min_rows: rows that a batch must have (2 where samples are compared with each other).
    tokens: compares positions with each other, so a tap [B,H] of one vector per sample is refused.
    targets: what labels it takes, if any: "ids" of classes, "numbers" of a regression, "flags" one per class.
    reads: what it takes of the teacher's logits: "logits" as they are, "softmax" only their probabilities (so that a
    number added to all logits of a position changes nothing), "shares" these and its gradient is linear in them.
    needs_teacher: off, it gets the batch's labels in the place of the teacher's tap.
    chunkable: computes logits a few rows at a time where they are large. It gets half precision as it is and widens the
    rows itself, and takes `LinearLogits` in place of logits.
    state: whether `fn` is a class of modules, see `build`.
    """

    name: str
    family: str
    fn: Callable[..., Any]
    options: tuple[Option, ...] = ()
    source: str = ""
    formula: str = ""
    needs: tuple[str, ...] = ()
    any_width: bool = False
    min_classes: int = 1
    per: str = "position"
    per_row_if: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    any_width_if: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    padding_if: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    arity: Arity = ""
    min_rows: int = 1
    tokens: bool = False
    targets: Targets = "ids"
    chunkable: bool = False
    reads: Reads = "logits"
    needs_teacher: bool = True
    state: bool = False

    def build(self, student: Any, teacher: Any, options: Mapping[str, Any], rows: int = 0, **known: Any) -> nn.Module:
        """The module of a loss with state, on the CPU. student, teacher: shapes of the taps (lists of shapes where
        `arity`), whose first axis is a batch. rows, known: of `KNOWN`, handed to a class that asks."""
        asked = inspect.signature(self.fn).parameters
        counted = {name: value for name, value in {"rows": rows, **known}.items() if name in asked}
        module: nn.Module = self.fn(student, teacher, **counted, **options)
        return module

    def unit(self, options: Mapping[str, Any]) -> str:
        """What the mean runs over with these options: one of `UNITS`.

        Whoever adds up micro-batches weights each by its number of units, so that the cut does not change the mean.
        """
        return "row" if self._given(options, self.per_row_if) else self.per

    def fits_any_width(self, options: Mapping[str, Any]) -> bool:
        """Whether the last axes of student and teacher may differ with these options."""
        return self.any_width or self._given(options, self.any_width_if)

    def reads_padding(self, options: Mapping[str, Any]) -> bool:
        """Whether taps at padded positions matter with these options, which a teacher need not have."""
        return self._given(options, self.padding_if)

    def _given(self, options: Mapping[str, Any], wanted: Mapping[str, tuple[Any, ...]]) -> bool:
        given = {option.name: options.get(option.name, option.default) for option in self.options}
        return any(given.get(name) in values for name, values in wanted.items())

    @property
    def doc(self) -> str:
        """The first line of the function's docstring."""
        target = type(self.fn) if isinstance(self.fn, nn.Module) else self.fn  # a class has its own docstring
        return (inspect.getdoc(target) or "").partition("\n")[0]

    def default(self, option: str, otherwise: Any = None) -> Any:
        """The default of an option; `otherwise` where the loss has no such option."""
        return next((one.default for one in self.options if one.name == option), otherwise)

    @property
    def needs_temperature(self) -> bool:
        """Whether the loss takes the option `temperature`."""
        return any(option.name == "temperature" for option in self.options)

    def __call__(self, student: Taps, teacher: Taps, mask: Tensor | None = None, **options: Any) -> Tensor:
        """The loss of these taps, computed in float32 or wider, outside of autocast. Scalar."""
        kind = (student[0] if isinstance(student, Sequence) else student).device.type
        student, teacher = (_ready(self, taps) for taps in (student, teacher))
        known = torch.amp.is_autocast_available(kind)
        with torch.autocast(kind, enabled=False) if known else contextlib.nullcontext():
            value = self.fn(student, teacher, mask=mask, **options)
        if not isinstance(value, Tensor) or value.dim() != 0:
            found = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise fail(f"a scalar from the loss {self.name}", found, fix="return one number, e.g. value.mean()")
        return value


def register(
    name: str,
    *,
    family: str,
    source: str = "",
    formula: str = "",
    needs: tuple[str, ...] = (),
    any_width: bool = False,
    min_classes: int = 1,
    per: str | None = None,
    per_row_if: Mapping[str, tuple[Any, ...]] | None = None,
    any_width_if: Mapping[str, tuple[Any, ...]] | None = None,
    padding_if: Mapping[str, tuple[Any, ...]] | None = None,
    arity: Arity = "",
    min_rows: int = 1,
    tokens: bool = False,
    targets: Targets = "ids",
    chunkable: bool = False,
    reads: Reads = "logits",
    needs_teacher: bool = True,
) -> Callable[[_F], _F]:
    """Decorator: puts `loss(student, teacher, mask=None, *, options)` into the table; see `Loss` for the arguments.

    per: None means "pair" for attention and scores, "position" for the others. The function itself is returned
    unchanged, so decorators of several families can be stacked. Raises TextkdError for an unknown family or unit, for
    another signature, and for a name that another function has in this family.
    """

    def put(fn: _F) -> _F:
        entry = _entry(
            name,
            family,
            fn,
            needs=needs,
            source=source,
            formula=formula,
            any_width=any_width,
            min_classes=min_classes,
            per=per or _unit_of(family),
            per_row_if=dict(per_row_if or {}),
            any_width_if=dict(any_width_if or {}),
            padding_if=dict(padding_if or {}),
            arity=arity,
            min_rows=min_rows,
            tokens=tokens,
            targets=targets,
            chunkable=chunkable,
            reads=reads,
            needs_teacher=needs_teacher,
        )
        known = _ENTRIES.get((family, name))
        if known is not None and _identity(known.fn) != _identity(fn):
            raise fail(
                f"a new loss {name} for {family}", f"{_identity(known.fn)} has this name", fix="take another name"
            )
        _ENTRIES[family, name] = entry
        return fn

    return put


def as_loss(fn: Callable[..., Any], family: str) -> Loss:
    """Wraps a user's plain function or module `fn(student, teacher, mask=None, *, options)`; does not register it.

    Raises TextkdError if the family is unknown or the signature is another one.
    """
    if isinstance(fn, Loss):
        return fn
    name = str(getattr(fn, "__name__", type(fn).__name__))
    return _entry(name, family, fn, per=_unit_of(family), needs_teacher=True)


def get(name: str, family: str) -> Loss:
    """The loss `name` of `family`. Raises TextkdError with the nearest names, or the families which have this name."""
    _check_family(family)
    if (family, name) in _ENTRIES:
        return _ENTRIES[family, name]
    asked = f"the loss {name} for {family}"
    elsewhere = [other for other, known in _ENTRIES if known == name]
    if elsewhere:
        raise fail(
            asked,
            f"{name} is a loss of {' or '.join(elsewhere)}; the tap is {family}",
            fix=f"use one of {', '.join(names(family))}, or tap {elsewhere[0]}",
        )
    fix = f"{family} has: {', '.join(names(family))}; `textkd ls losses` lists all"
    raise fail(asked, "no such loss", near=(name, names(family)), fix=fix)


def names(family: str | None = None) -> list[str]:
    """The sorted names of the losses of `family`, or of all."""
    if family is not None:
        _check_family(family)
    return sorted({name for own, name in _ENTRIES if family in (None, own)})


def rows() -> list[dict[str, str]]:
    """One row per loss, in the order of `FAMILIES`: family, name, options, formula, source, doc."""
    order = list(FAMILIES)
    entries = sorted(_ENTRIES.values(), key=lambda entry: (order.index(entry.family), entry.name))
    return [
        {
            "family": entry.family,
            "name": entry.name,
            "options": ", ".join(str(option) for option in entry.options),
            "formula": entry.formula,
            "source": entry.source,
            "doc": entry.doc,
        }
        for entry in entries
    ]


def _entry(name: str, family: str, fn: Callable[..., Any], needs: tuple[str, ...] = (), **rest: Any) -> Loss:
    _check_family(family)
    if rest["per"] not in UNITS:
        raise fail(f"the loss {name} per {rest['per']}", "no such unit", fix=f"one of {', '.join(UNITS)}")
    state = isinstance(fn, type)
    read = read_state(name, fn) if isinstance(fn, type) else read_options(name, fn)
    unknown = [need for need in needs if need not in NEEDS]
    if unknown:
        raise fail(f"the loss {name} with needs {', '.join(unknown)}", "no such thing", fix=f"of {', '.join(NEEDS)}")
    options = tuple(option for option in read if option.name not in needs)
    rest["needs_teacher"] = rest["needs_teacher"] and family != "labels"
    return Loss(name, family, fn, options, needs=needs, state=state, **rest)


def _ready(loss: Loss, taps: Taps) -> Taps:
    """What the function takes, made while autocast is still known."""
    if loss.chunkable:
        return taps.narrowed() if isinstance(taps, LinearLogits) else taps
    if isinstance(taps, LinearLogits):
        able = sorted({entry.name for entry in _ENTRIES.values() if entry.chunkable})
        what, fix = f"the loss {loss.name} needs them whole", f"logits.whole(), or one of {', '.join(able)}"
        raise fail("logits of a linear head that are not computed", what, fix=fix)
    return widen(taps) if isinstance(taps, Tensor) else [widen(tap) for tap in taps]


def _unit_of(family: str) -> str:
    return "pair" if family in ("attention", "scores") else "position"


def _check_family(family: str) -> None:
    if family not in FAMILIES:
        fix = f"one of {', '.join(FAMILIES)}"
        raise fail(f"the loss family {family}", "no such family", near=(family, FAMILIES), fix=fix)


def _identity(fn: Callable[..., Any]) -> str:
    # Not `is`: a notebook cell that is run twice defines its function anew.
    return f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
