"""The table of losses, keyed by the family of taps that they compare and by name.

@register("kl", family="logits", source="Hinton et al. 2015, arXiv:1503.02531", formula="T^2 * KL(p_t || p_s)")
def kl(student, teacher, mask=None, *, temperature: Positive = 1.0): ...

A loss that owns state (weights, a memory bank) is an nn.Module class; it is built once the shapes are known and lives
on the student, like a projection:

@register("vid", family="hidden", any_width=True)
class VariationalInformation(nn.Module):
    def __init__(self, student: Shape, teacher: Shape, *, init_variance: Positive = 5.0): ...
    def forward(self, student, teacher, mask=None): ...

What others have to know of a loss before they call it is data of its entry (`Loss`), not knowledge of theirs: which
shapes, labels and batches it takes, whether a gradient goes into its target (`to_target`, `stops_with`,
`gradient_options`), whether its taps have to be different ones (`distinct`), whether each model needs an encoding of
its own (`needs_own_encoding`). `textkd.losses.engine_problems` tells what of this a training does not give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from textkd.errors import fail
from textkd.losses.entry import Arity, Loss, Reads, Targets, ToTarget
from textkd.losses.options import read_options, read_state

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
    padded_if: Mapping[str, tuple[Any, ...]] | None = None,
    any_width_if: Mapping[str, tuple[Any, ...]] | None = None,
    padding_if: Mapping[str, tuple[Any, ...]] | None = None,
    arity: Arity = "",
    min_rows: int = 1,
    tokens: bool = False,
    targets: Targets = "ids",
    chunkable: bool = False,
    reads: Reads = "logits",
    needs_teacher: bool = True,
    to_target: ToTarget = "passes",
    stops_with: Mapping[str, Any] | None = None,
    gradient_options: tuple[str, ...] = (),
    distinct: bool = False,
    needs_own_encoding: bool = False,
) -> Callable[[_F], _F]:
    """Decorator: puts `loss(student, teacher, mask=None, *, options)` into the table.

    The function itself is returned unchanged, so decorators of several families can be stacked. A class of modules may
    stand in its place (see the module). docs/custom-losses.md shows more.

    Args:
        name: what a match calls it.
        family: of the taps that it compares, a key of `FAMILIES`.
        source: paper or code.
        formula: one line.
        per: what the mean runs over; None: "pair" for attention and scores, "position" for the others.
        needs, any_width, min_classes, per_row_if, padded_if, any_width_if, padding_if, arity, min_rows, tokens,
            targets, chunkable, reads, needs_teacher, to_target, stops_with, gradient_options, distinct,
            needs_own_encoding: as of `Loss`.

    Returns:
        The decorator.

    Raises:
        TextkdError: an unknown family or unit, another signature, options that do not fit each other, or a name that
            another function has in this family.

    Example:
        >>> @register("halved", family="hidden", formula="mean (s - t / 2)^2")
        ... def halved(student, teacher, mask=None):
        ...     from textkd.losses.masking import masked_mean
        ...     return masked_mean((student - teacher / 2) ** 2, mask)
        >>> "halved" in names("hidden")
        True
        >>> del _ENTRIES["hidden", "halved"]  # it was for this example only
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
            padded_if=dict(padded_if or {}),
            any_width_if=dict(any_width_if or {}),
            padding_if=dict(padding_if or {}),
            arity=arity,
            min_rows=min_rows,
            tokens=tokens,
            targets=targets,
            chunkable=chunkable,
            reads=reads,
            needs_teacher=needs_teacher,
            to_target=to_target,
            stops_with=dict(stops_with or {}),
            gradient_options=gradient_options,
            distinct=distinct,
            needs_own_encoding=needs_own_encoding,
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
    """Wraps a plain function or module `fn(student, teacher, mask=None, *, options)`; does not register it.

    Args:
        fn: the function; a `Loss` comes back as it is.
        family: of the taps that it compares, a key of `FAMILIES`.

    Returns:
        A loss whose mean runs over what is usual in the family: pairs for attention and scores, positions elsewhere.

    Raises:
        TextkdError: the family is unknown, or the signature is another one.

    Example:
        >>> def near(student, teacher, mask=None, *, power: float = 2.0):
        ...     return ((student - teacher).abs() ** power).mean()
        >>> loss = as_loss(near, "hidden")
        >>> loss.name, loss.default("power")
        ('near', 2.0)
    """
    if isinstance(fn, Loss):
        return fn
    name = str(getattr(fn, "__name__", type(fn).__name__))
    return _entry(name, family, fn, per=_unit_of(family), needs_teacher=True)


def get(name: str, family: str) -> Loss:
    """A loss by name.

    Args:
        name: one of `names(family)`.
        family: of the taps that it compares, a key of `FAMILIES`.

    Returns:
        The entry, to be called as `loss(student, teacher, mask, **options)`.

    Raises:
        TextkdError: there is none, with the nearest names or the families which have this name.

    Example:
        >>> get("kl", "logits").source
        'Hinton et al. 2015, arXiv:1503.02531...'
    """
    _check_family(family)
    if (family, name) in _ENTRIES:
        return _ENTRIES[family, name]
    asked = f"the loss {name} for {family}"
    elsewhere = [other for other, known in _ENTRIES if known == name]
    if elsewhere:
        raise fail(
            asked,
            f"{name} is a loss of {' or '.join(elsewhere)}; the tap is {family}",
            fix=f"tap {' or '.join(elsewhere)}; or for {family} one of {', '.join(names(family))}",
        )
    fix = f"{family} has: {', '.join(names(family))}; `textkd ls losses` lists all"
    raise fail(asked, "no such loss", near=(name, names(family)), fix=fix)


def names(family: str | None = None) -> list[str]:
    """The names of losses, sorted.

    Args:
        family: whose; None: of all.

    Returns:
        Each name once.

    Raises:
        TextkdError: no such family.

    Example:
        >>> names("labels")[:2]
        ['bce', 'cross_entropy']
    """
    if family is not None:
        _check_family(family)
    return sorted({name for own, name in _ENTRIES if family in (None, own)})


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
    strangers = {*rest.get("stops_with", ()), *rest.get("gradient_options", ())} - {option.name for option in options}
    if strangers:
        fix = f"its options: {', '.join(option.name for option in options) or 'none'}"
        raise fail(f"the loss {name}, whose {', '.join(sorted(strangers))} stops a gradient", "no such option", fix=fix)
    if rest.get("stops_with") and rest["to_target"] != "trains":
        raise fail(f"the loss {name} with stops_with", f"it {rest['to_target']} anyway", fix='to_target="trains"')
    if rest.get("distinct") and not rest.get("arity"):
        raise fail(f"the loss {name} with distinct taps", "it takes one", fix='arity="layers" or "kinds"')
    rest["needs_teacher"] = rest["needs_teacher"] and family != "labels"
    return Loss(name, family, fn, options, needs=needs, state=state, **rest)


def _unit_of(family: str) -> str:
    return "pair" if family in ("attention", "scores") else "position"


def _check_family(family: str) -> None:
    if family not in FAMILIES:
        fix = f"one of {', '.join(FAMILIES)}"
        raise fail(f"the loss family {family}", "no such family", near=(family, FAMILIES), fix=fix)


def _identity(fn: Callable[..., Any]) -> str:
    # Not `is`: a notebook cell that is run twice defines its function anew.
    return f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
