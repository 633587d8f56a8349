"""The candidates of a search, their costs and the budget, as plain data."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from textkd.experiment.measured import Cost

Choice = Mapping[str, Any]


@dataclass(frozen=True)
class Budget:
    """What a student may cost. threads: of the CPU, for the latency; None: all that torch has."""

    latency_ms: float | None = None
    size_mb: float | None = None
    threads: int | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in asdict(self).items() if value is not None)

    def over(self, cost: Cost) -> float:
        """How many times as much as the budget the dearest part of a cost is; at most 1 where it is met."""
        parts = [(cost.latency_ms, self.latency_ms), (cost.size_mb, self.size_mb)]
        return max((one / most for one, most in parts if most is not None), default=0.0)


@dataclass(frozen=True)
class Space:
    """The values of each key, by its dotted path in the recipe."""

    over: Mapping[str, Sequence[Any]]

    def choices(self) -> list[Choice]:
        """All candidates."""
        return [dict(zip(self.over, values, strict=True)) for values in itertools.product(*self.over.values())]


@dataclass
class Candidate:
    """What is known of a candidate. steps: of its longest training so far; metric: at its end; refused: why it cannot
    be trained, where it was looked at and cannot."""

    choice: dict[str, Any]
    latency_ms: float
    size_mb: float
    fits: bool
    steps: int = 0
    metric: float | None = None
    refused: str = ""

    @property
    def key(self) -> str:
        """A name for its folder."""
        return hashlib.sha256(json.dumps(self.choice, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """Its values, in a line."""
        return ", ".join(f"{key.rpartition('.')[2]} {_shown(value)}" for key, value in self.choice.items())


def _shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value) or "none"
