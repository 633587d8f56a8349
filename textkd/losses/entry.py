"""What is known of a loss: everything that others ask before they call it, as data."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from textkd.errors import fail
from textkd.losses.linear import LinearLogits, Taps
from textkd.losses.masking import widen
from textkd.losses.options import Option

Arity = Literal["", "layers", "kinds"]
Targets = Literal["ids", "numbers", "flags"]
Reads = Literal["logits", "softmax", "shares"]
ToTarget = Literal["passes", "trains", "stops"]


@dataclass(frozen=True)
class Loss:
    """One registered loss. Called as `loss(student, teacher, mask, **options)`, it returns a scalar tensor.

    Args:
        name: the key, with `family`.
        family: of the taps that it compares, a key of `FAMILIES`.
        fn: the function.
        options: its keyword options.
        source: paper or code.
        formula: one line.
        needs: what else of the step `fn` takes by keyword, which are not options, of `NEEDS`: labels [B] or [B, T]
            (-100: none); example_id [B], row numbers of the data set; progress, the share of the training that is done;
            marks [B, T], where in the image each label stands (share of the width, NaN: not known).
        any_width: the last axes of student and teacher may differ (relations between positions or samples).
        min_classes: fewer classes than this make the loss constant (softmax over one class is always 1).
        per: what the mean of the loss runs over: "row" (sample), "position" (valid token; a sample where there are no
            tokens), "pair" (valid query x key).
        per_row_if: option values with which it runs over rows instead. See `unit`.
        padded_if: option values with which it does so, each row's sum over all its pairs, padding too.
        any_width_if: option values with which the last axes may differ.
        padding_if: option values with which taps at padded positions matter.
        arity: "" for one tap of each side; else lists of taps come: "layers" all pairs of the layer map in one call,
            "kinds" the kinds of tap that the match lists, of one pair of blocks.
        min_rows: rows that a batch must have (2 where samples are compared with each other).
        tokens: compares positions with each other, so a tap [B, H] of one vector per sample is refused.
        targets: what labels it takes, if any: "ids" of classes, "numbers" of a regression, "flags" one per class.
        chunkable: computes logits a few rows at a time where they are large. It gets half precision as it is and widens
            the rows itself, and takes `LinearLogits` in place of logits.
        reads: what it takes of the teacher's logits: "logits" as they are, "softmax" only their probabilities (so that
            a number added to all logits of a position changes nothing), "shares" these and its gradient is linear in
            them.
        needs_teacher: off, it gets the batch's labels in the place of the teacher's tap.
        to_target: what becomes of a gradient on its way to the target, the second argument. "passes": the loss is a
            formula of both sides and right with or without it, so whoever calls it decides. "trains": the formula has a
            term for the target's own training, so the loss is not what it says where the gradient is stopped. "stops":
            none gets there.
        stops_with: option values with which, all together, a loss that trains its target stops instead. See
            `target_gradient`.
        gradient_options: options that leave the value as it is and say only where a gradient goes.
        distinct: the taps of a list have to be different ones, as what is compared lies between them (exits, a layer
            and the next one, kinds): one tap named twice has nothing between.
        needs_own_encoding: student and teacher read a sample in encodings of their own (two tokenizers).
        state: whether `fn` is a class of modules, see `build`.

    Example:
        >>> from textkd import losses
        >>> mse = losses.get("mse", "hidden")
        >>> mse(torch.ones(2, 3, 4), torch.zeros(2, 3, 4), torch.ones(2, 3)).item()
        1.0
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
    padded_if: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    any_width_if: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    padding_if: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    arity: Arity = ""
    min_rows: int = 1
    tokens: bool = False
    targets: Targets = "ids"
    chunkable: bool = False
    reads: Reads = "logits"
    needs_teacher: bool = True
    to_target: ToTarget = "passes"
    stops_with: Mapping[str, Any] = field(default_factory=dict)
    gradient_options: tuple[str, ...] = ()
    distinct: bool = False
    needs_own_encoding: bool = False
    state: bool = False

    def build(self, student: Any, teacher: Any, options: Mapping[str, Any], rows: int = 0, **known: Any) -> nn.Module:
        """The module of a loss with state, on the CPU.

        Args:
            student: the shape of the student's tap (a list of shapes where `arity`); its first axis is a batch.
            teacher: that of the teacher's.
            options: those of the loss.
            rows: of the training data, handed to a class that asks.
            known: of `KNOWN`, handed to a class that asks.
        """
        asked = inspect.signature(self.fn).parameters
        counted = {name: value for name, value in {"rows": rows, **known}.items() if name in asked}
        module: nn.Module = self.fn(student, teacher, **counted, **options)
        return module

    def unit(self, options: Mapping[str, Any]) -> str:
        """What the mean runs over with these options.

        Whoever adds up micro-batches weights each by its number of units, so that the cut does not change the mean.

        Args:
            options: those that are given.

        Returns:
            One of `UNITS`: "row", "position", "pair".
        """
        return "row" if self._given(options, self.per_row_if) or self.is_padded(options) else self.per

    def is_padded(self, options: Mapping[str, Any]) -> bool:
        """Whether each row's sum is divided by all its query-key pairs, padding too."""
        return self._given(options, self.padded_if)

    def fits_any_width(self, options: Mapping[str, Any]) -> bool:
        """Whether the last axes of student and teacher may differ with these options."""
        return self.any_width or self._given(options, self.any_width_if)

    def reads_padding(self, options: Mapping[str, Any]) -> bool:
        """Whether taps at padded positions matter with these options, which a teacher need not have."""
        return self._given(options, self.padding_if)

    def target_gradient(self, options: Mapping[str, Any]) -> ToTarget:
        """What becomes of a gradient on its way to the target with these options; labels never get one."""
        if not self.needs_teacher:
            return "stops"
        given = self.all_options(options)
        stops = self.stops_with and all(given[name] == value for name, value in self.stops_with.items())
        return "stops" if stops else self.to_target

    def all_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Every option of the loss, with its default where `options` has none."""
        return {option.name: options.get(option.name, option.default) for option in self.options}

    def _given(self, options: Mapping[str, Any], wanted: Mapping[str, tuple[Any, ...]]) -> bool:
        given = self.all_options(options)
        return any(given.get(name) in values for name, values in wanted.items())

    @property
    def doc(self) -> str:
        """The first line of the function's docstring."""
        target = type(self.fn) if isinstance(self.fn, nn.Module) else self.fn  # a class has its own docstring
        return (inspect.getdoc(target) or "").partition("\n")[0]

    def default(self, option: str, otherwise: Any = None) -> Any:
        """The default of an option.

        Args:
            option: its name.
            otherwise: what comes back where the loss has no such option.
        """
        return next((one.default for one in self.options if one.name == option), otherwise)

    @property
    def needs_temperature(self) -> bool:
        """Whether the loss takes the option `temperature`."""
        return any(option.name == "temperature" for option in self.options)

    def __call__(self, student: Taps, teacher: Taps, mask: Tensor | None = None, **options: Any) -> Tensor:
        """The loss of these taps, computed in float32 or wider, outside of autocast.

        Args:
            student: the student's tap, such as [B, T, H]; a list of taps where `arity`.
            teacher: the teacher's tap, or the labels.
            mask: [B] or [B, T], true where a position counts; of attention also [B, T, T]. None: all count.
            options: of the loss, and what it `needs`.

        Returns:
            A scalar.

        Raises:
            TextkdError: `fn` returns no scalar, or gets `LinearLogits` that it needs whole.
        """
        kind = (student[0] if isinstance(student, Sequence) else student).device.type
        student, teacher = (_ready(self, taps) for taps in (student, teacher))
        known = torch.amp.is_autocast_available(kind)
        with torch.autocast(kind, enabled=False) if known else contextlib.nullcontext():
            value = self.fn(student, teacher, mask=mask, **options)
        if not isinstance(value, Tensor) or value.dim() != 0:
            found = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise fail(f"a scalar from the loss {self.name}", found, fix="return one number, e.g. value.mean()")
        return value


def _ready(loss: Loss, taps: Taps) -> Taps:
    """What the function takes, made while autocast is still known."""
    if loss.chunkable:
        return taps.narrowed() if isinstance(taps, LinearLogits) else taps
    if isinstance(taps, LinearLogits):
        what, fix = f"the loss {loss.name} needs them whole", "logits.whole(), or another loss: kl computes them itself"
        raise fail("logits of a linear head that are not computed", what, fix=fix)
    return widen(taps) if isinstance(taps, Tensor) else [widen(tap) for tap in taps]
