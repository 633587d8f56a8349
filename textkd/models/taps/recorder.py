"""What one forward has recorded, and the small hook objects that record it. All are inert without a recorder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import fail

Later = Callable[[], Tensor]


class StopForwardError(Exception):
    """Internal: every asked tap is recorded, the rest of the forward would be wasted."""


class Recorder:
    """The taps of one forward. Closed at its end, so that a checkpointed block's second run records nothing."""

    def __init__(self, wanted: int, stop: bool) -> None:
        self.wanted, self.stop, self.open = wanted, stop, True
        self.graph = torch.is_grad_enabled()  # whether whoever runs the forward wants a graph of it
        self.taps: dict[str, Tensor | Later | None] = {}
        self.calls: Counter[int] = Counter()

    def record(self, key: str, value: Tensor | Later | None) -> None:
        """Keeps a tap, or the function that will compute it once the forward is over."""
        if not self.open:
            return
        self.taps[key] = value
        if self.stop and self.complete:
            raise StopForwardError

    @property
    def complete(self) -> bool:
        """Whether everything that is asked is recorded."""
        return len(self.taps) == self.wanted

    def close(self) -> dict[str, Tensor | None]:
        """The taps; from now on nothing is recorded."""
        taps, self.taps, self.open = self.taps, {}, False
        return {key: value() if callable(value) else value for key, value in taps.items()}


@dataclass
class Switch:
    """Shared by the hooks of one capture: on while `recorder` is there."""

    awake: bool = False
    stop: bool = False
    ran: bool = False
    recorder: Recorder | None = None


class Silent:
    """What a copied or unpickled model has in place of our hooks: the capture stays with the original."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass
class Hook:
    """A hook that acts on the `call`-th of `calls` calls of its module in a forward (ALBERT shares modules)."""

    switch: Switch
    key: str
    call: int = 1
    calls: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def recorder(self) -> Recorder | None:
        """The recorder, if one is open and this is our turn."""
        recorder = self.switch.recorder
        if recorder is None or not recorder.open:
            return None
        recorder.calls[id(self)] += 1
        turn = recorder.calls[id(self)]
        if turn > self.calls:
            raise fail(
                f'tap "{self.key}"',
                f"its module ran more than {self.calls} time(s) in one forward",
                fix="tap a module that runs once, or the block (hidden:k)",
            )
        return recorder if turn == self.call else None

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()


class OutputHook(Hook):
    """Forward hook: records the module's output."""

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        recorder = self.recorder()
        if recorder is not None:
            value = first_tensor(output)
            if value is not None and self.options.get("first_half"):
                value = value.chunk(2, dim=-1)[0]
            self.keep(recorder, value)

    def keep(self, recorder: Recorder, value: Tensor | None) -> None:
        recorder.record(self.key, value)


class InputHook(Hook):
    """Forward pre-hook with kwargs: records the module's first tensor input."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recorder = self.recorder()
        if recorder is not None:
            self.keep(recorder, first_tensor((*args, *kwargs.values())))

    def keep(self, recorder: Recorder, value: Tensor | None) -> None:
        recorder.record(self.key, value)


class HeadHook(InputHook):
    """Forward pre-hook on the layer that makes the logits: records what goes into it, in the type that it computes in.

    Option bare: nobody wants the logits, so the layer gets no positions and the model returns logits [B,0,V] of them.
    """

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorder, value = self.recorder(), first_tensor((*args, *kwargs.values()))
        if recorder is None or value is None:
            return None
        recorder.record(self.key, value.to(_computes_in(value)))
        return ((value[..., :0, :],), {}) if self.options["bare"] else None


def _computes_in(value: Tensor) -> torch.dtype:
    """The type that a linear layer computes in here, given `value`."""
    kind = value.device.type
    cast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if cast and value.dtype != torch.float64 else value.dtype


def first_tensor(value: Any) -> Tensor | None:
    """`value` itself, or the first tensor of a tuple, list or mapping."""
    if isinstance(value, Tensor):
        return value
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return next((part for part in parts if isinstance(part, Tensor)), None)


def plain_outputs(output: Any) -> dict[str, Tensor]:
    """The tensors of a model's output by name; a lone tensor (or the first of a tuple) counts as logits."""
    if isinstance(output, Mapping):
        return {name: value for name, value in output.items() if isinstance(value, Tensor)}
    tensor = first_tensor(output)
    return {} if tensor is None else {"logits": tensor}
