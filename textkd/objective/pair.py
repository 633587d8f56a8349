"""A match bound to models: a `Pair` of taps and how they are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import TextkdError, fail
from textkd.losses import Loss
from textkd.models.taps import Tap
from textkd.objective.combine import Combination
from textkd.objective.schedules import Schedule


@dataclass(frozen=True)
class Pair:
    """A match bound to models: taps of one model that learns, taps that they learn from, and how they are compared.

    Args:
        name: what the report and the logs call it.
        sources: one tap, or all that a loss of many taps takes; of one model.
        targets: as many as `sources`; one of each model where they are combined; none where the loss needs none.
        loss, weight, schedule, temperature, projection, options, fused, target_gradient: as in `Match`.
        combine: how the targets become one.
        target_pool: what the targets pass through where the sources have a grid projection.
        inside: the loss owns weights, or multiplies with the head's, so it is computed before the forward of the
            trained models is over (`Objective.inside`).
        heads: where the logits are made inside the loss, the layers of source and target that make them; the taps are
            then what goes into these.
        place: the match among all, as "[2]": where its problems are.
    """

    name: str
    sources: tuple[Tap, ...]
    targets: tuple[Tap, ...]
    loss: Loss
    weight: float
    schedule: Schedule
    temperature: Schedule | None
    projection: str | None
    options: Mapping[str, Any]
    target_pool: Callable[[Tensor], Tensor] | None = None
    inside: bool = False
    fused: bool = False
    heads: tuple[nn.Linear | None, nn.Linear | None] = (None, None)
    combine: Combination | None = None
    target_gradient: bool = False
    place: str = ""

    @property
    def source(self) -> Tap:
        """The (first) tap that learns."""
        return self.sources[0]

    @property
    def target(self) -> Tap | None:
        """The (first) tap that is learnt from; None where none is needed."""
        return self.targets[0] if self.targets else None

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models that the targets belong to."""
        return tuple(dict.fromkeys(tap.model for tap in self.targets))

    @property
    def read(self) -> tuple[list[str], list[str]]:
        """The names of the taps that have to be read, of sources and of targets. A pair of labels reads logits."""
        return (
            [_read(tap, self.heads[0]) for tap in self.sources],
            [_read(tap, self.heads[1]) for tap in self.targets],
        )

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """(source block, target block) of the taps that lie side by side, where both have one."""
        both = [(s.address.block, t.address.block) for s, t in zip(self.sources, self.targets, strict=False)]
        return list(dict.fromkeys((s, t) for s, t in both if s is not None and t is not None))

    def projected(self, number: int) -> str:
        """The name of the projection of the source `number`."""
        return f"{self.name}[{number}]" if self.loss.arity else self.name

    def target_of(self, number: int) -> Tap:
        """The target that stands beside the source `number`."""
        return self.targets[min(number, len(self.targets) - 1)]


def not_finite(pair: Pair, value: float, taps: Mapping[str, Tensor]) -> TextkdError:
    """What to say of a loss that is no number on the first rows: the model that has none there, else its options.

    Args:
        pair: whose loss it is.
        value: nan or inf.
        taps: what it was computed from, by whole names.
    """
    asked, found = f"the loss of {pair.name}", f"{value} on the first rows"
    for name in (*pair.read[1], *pair.read[0]):  # a student made of its teacher has what that has
        model, _, kind = name.partition("/")
        if name in taps and not (taps[name] < torch.inf).all():  # scores of what is masked may be -inf
            fix = f"its weights, or numbers on their way, are too large: take another {model}, from a sound checkpoint"
            return fail(asked, f"{found}: so are numbers in {kind} of {model}", fix=fix)
    return fail(asked, found, fix="look at its options")


def _read(tap: Tap, head: nn.Linear | None) -> str:
    kind = "head_input" if head is not None else "logits" if tap.address.kind == "labels" else str(tap.address)
    return f"{tap.model}/{kind}"
