"""A number as a function of training progress, which runs from 0 (first step) to 1 (last step).

A schedule MULTIPLIES the weight of a match (it never replaces it), or GIVES a temperature. Kinds, with
u = (progress - begin) / (until - begin) clipped to [0, 1]:

    constant   value
    linear     start + (end - start) * u                       1 -> 0; FitNets' lambda: start 4, end 1
    cosine     end + (start - end) * (1 + cos(pi u)) / 2       1 -> 0
    ramp_up    start + (end - start) * exp(-5 (1 - u)^2)       0 -> 1; Laine & Aila 2017, arXiv:1610.02242 (ONE, FFL)
    ramp_down  end + (start - end) * exp(-12.5 u^2)            1 -> 0; the same authors
    step       values[i] after the i-th of the points in `at`  (1, 0) at 0.5
    stop_at    start while progress < at, then end             1, then 0; early-stopped KD, arXiv:1910.01348
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from textkd.errors import Collector, Problem, problem


@dataclass(frozen=True)
class Schedule:
    """A number over training progress. Build one with `Schedule.parse`; `schedule(progress)` gives the number.

    The kinds are constant, linear, cosine, ramp_up, ramp_down, step and stop_at (the module has their formulas).

    Source:
        ramp_up, ramp_down: Laine & Aila 2017, arXiv:1610.02242. stop_at: early-stopped distillation, arXiv:1910.01348.

    Example:
        >>> early = Schedule.parse({"kind": "stop_at", "at": 0.5})
        >>> early(0.4), early(0.6)
        (1.0, 0.0)
    """

    kind: ClassVar[str] = ""

    @staticmethod
    def parse(spec: Any, *, positive: bool = False) -> Schedule:
        """The schedule that a recipe or a call writes.

        Args:
            spec: a number (constant), a kind ("linear"), a mapping such as
                ``{"kind": "linear", "start": 4, "end": 1}``, or a schedule.
            positive: every value must be above 0 (a temperature); otherwise 0 is allowed too, negative numbers never.

        Raises:
            TextkdError: with every problem: an unknown kind or field, a wrong type, points out of order or outside of
                [0, 1].

        Example:
            >>> falling = Schedule.parse({"kind": "linear", "start": 4, "end": 1})
            >>> [falling(progress) for progress in (0.0, 0.5, 1.0)]
            [4.0, 2.5, 1.0]
        """
        collector = Collector()
        if _is_number(spec):
            spec = {"kind": "constant", "value": spec}
        schedule = spec if isinstance(spec, Schedule) else _read(spec, collector)
        collector.raise_any()
        assert schedule is not None
        collector.add(*schedule._problems(positive))
        collector.raise_any()
        return schedule

    def __call__(self, progress: float) -> float:
        """The number at `progress`; below 0 and above 1 it is what it is at 0 and at 1.

        Args:
            progress: the share of the training that is done, in [0, 1].
        """
        raise TypeError("Schedule is abstract: use Schedule.parse")

    @property
    def values(self) -> tuple[float, ...]:
        """The numbers between which the schedule moves: it never leaves min(values) .. max(values)."""
        raise TypeError("Schedule is abstract: use Schedule.parse")

    def spec(self) -> dict[str, Any]:
        """The mapping that `Schedule.parse` reads back."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    def _points(self) -> dict[str, float]:
        return {}

    def _problems(self, positive: bool) -> list[Problem]:
        found = []
        if any(value < 0 or (positive and value == 0) for value in self.values):
            bound = "a number above 0" if positive else "0 or more"
            plain = self.kind == "constant"
            asked = f"the value {self.values[0]}" if plain else f"a {self.kind} schedule over {list(self.values)}"
            what = f"it must be {bound}" if plain else f"every value must be {bound}"
            found.append(problem(asked, what, fix="as 2.0" if positive else "as 0.5"))
        points = self._points()
        if any(not 0 <= point <= 1 for point in points.values()):
            found.append(problem(f"a {self.kind} schedule with {_say(points)}", "progress runs from 0 to 1"))
        ordered = list(points.values())
        if any(later <= earlier for earlier, later in itertools.pairwise(ordered)):
            found.append(problem(f"a {self.kind} schedule with {_say(points)}", "the points must grow"))
        return found


@dataclass(frozen=True)
class Constant(Schedule):
    """Always `value`."""

    kind: ClassVar[str] = "constant"
    value: float

    @property
    def values(self) -> tuple[float, ...]:
        return (self.value,)

    def __call__(self, progress: float) -> float:
        return self.value


@dataclass(frozen=True)
class _Ramp(Schedule):
    """From `start` at `begin` to `end` at `until`, constant outside."""

    shape: ClassVar[Callable[[float], float]]
    start: float = 1.0
    end: float = 0.0
    begin: float = 0.0
    until: float = 1.0

    @property
    def values(self) -> tuple[float, ...]:
        return (self.start, self.end)

    def __call__(self, progress: float) -> float:
        progress = max(progress, 0.0)
        if progress < self.begin:
            return self.start
        u = min((progress - self.begin) / (self.until - self.begin), 1.0)
        return self.start + (self.end - self.start) * type(self).shape(u)

    def _points(self) -> dict[str, float]:
        return {"begin": self.begin, "until": self.until}


@dataclass(frozen=True)
class Linear(_Ramp):
    """A straight line."""

    kind: ClassVar[str] = "linear"
    shape: ClassVar[Callable[[float], float]] = staticmethod(lambda u: u)


@dataclass(frozen=True)
class Cosine(_Ramp):
    """Half a cosine: flat at both ends."""

    kind: ClassVar[str] = "cosine"
    shape: ClassVar[Callable[[float], float]] = staticmethod(lambda u: (1.0 - math.cos(math.pi * u)) / 2.0)


@dataclass(frozen=True)
class RampUp(_Ramp):
    """A slow rise; at `begin` it is at exp(-5) = 0.7% of the way already."""

    kind: ClassVar[str] = "ramp_up"
    shape: ClassVar[Callable[[float], float]] = staticmethod(lambda u: math.exp(-5.0 * (1.0 - u) ** 2))
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True)
class RampDown(_Ramp):
    """A fall that starts flat; at `until` it is within exp(-12.5) = 4e-6 of `end`."""

    kind: ClassVar[str] = "ramp_down"
    shape: ClassVar[Callable[[float], float]] = staticmethod(lambda u: 1.0 - math.exp(-12.5 * u**2))


@dataclass(frozen=True)
class Step(Schedule):
    """values[0] until at[0], values[1] until at[1], ..., the last to the end. One value more than points."""

    kind: ClassVar[str] = "step"
    values: tuple[float, ...] = (1.0, 0.0)
    at: tuple[float, ...] = (0.5,)

    def __call__(self, progress: float) -> float:
        return self.values[sum(progress >= point for point in self.at)]

    def _points(self) -> dict[str, float]:
        return {f"at[{i}]": point for i, point in enumerate(self.at)}

    def _problems(self, positive: bool) -> list[Problem]:
        found = super()._problems(positive)
        if len(self.values) != len(self.at) + 1:
            counts = f"{len(self.values)} values and {len(self.at)} points in `at`"
            found.append(problem(f"a step schedule with {counts}", "it takes one value more than points"))
        return found


@dataclass(frozen=True)
class StopAt(Schedule):
    """`start` while progress is below `at`, then `end`."""

    kind: ClassVar[str] = "stop_at"
    at: float
    start: float = 1.0
    end: float = 0.0

    @property
    def values(self) -> tuple[float, ...]:
        return (self.start, self.end)

    def __call__(self, progress: float) -> float:
        return self.start if progress < self.at else self.end

    def _points(self) -> dict[str, float]:
        return {"at": self.at}


def linear_per_step(base: float, slope: float, steps: int) -> Schedule:
    """min(base + slope * t, 1) at step t of `steps`: BERT-of-Theseus' replacing rate (arXiv:2002.02925; there base 0.3,
    slope 0.0006 at most). A line that ends where it meets 1, or with the training."""
    meets = (1.0 - base) / (slope * steps) if slope > 0 else math.inf
    if meets <= 0:
        return Schedule.parse(1.0)
    end = 1.0 if meets <= 1 else base + slope * steps
    return Schedule.parse({"kind": "linear", "start": base, "end": end, "until": min(meets, 1.0)})


def jump_at_step(value: float, step: int | None, steps: int) -> Schedule:
    """`value`, from `step` of `steps` on 1: BERT-of-Theseus' constant rate, then its successor alone. None: never."""
    if step is None or step > steps or value == 1.0:
        return Schedule.parse(value)
    return Schedule.parse({"kind": "step", "values": [value, 1.0], "at": [max(step, 0) / steps]})


_KINDS: dict[str, type[Schedule]] = {k.kind: k for k in (Constant, Linear, Cosine, Step, RampUp, RampDown, StopAt)}
NAMES = tuple(_KINDS)


def _read(spec: Any, collector: Collector) -> Schedule | None:
    if isinstance(spec, str):
        spec = {"kind": spec}
    if not isinstance(spec, Mapping):
        fix = f"a number, a kind, or a mapping with kind: one of {', '.join(NAMES)}"
        collector.add(problem(f"the schedule {spec!r}", "neither a number nor a mapping", fix=fix))
        return None
    kind = spec.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        fix, found = f"kind: one of {', '.join(NAMES)}", "no such kind" if "kind" in spec else "it has no kind"
        near = (kind, NAMES) if isinstance(kind, str) else None
        collector.add(problem(f"a schedule of kind {kind!r}", found, near=near, fix=fix, where="kind"))
        return None
    fields = {f.name: f for f in dataclasses.fields(_KINDS[kind])}
    given: dict[str, Any] = {}
    for name, value in spec.items():
        if name == "kind":
            continue
        if name not in fields:
            fix, asked = f"{kind} takes {', '.join(fields)}", f"{name} of a {kind} schedule"
            collector.add(problem(asked, "no such field", near=(str(name), fields), fix=fix, where=str(name)))
            continue
        given[name] = _field(name, value, many=str(fields[name].type).startswith("tuple"), collector=collector)
    for name in [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in spec]:
        collector.add(problem(f"a {kind} schedule", f"{name} is missing", fix=f"give {name}: a number", where=name))
    return None if collector.problems else _KINDS[kind](**given)


def _field(name: str, value: Any, many: bool, collector: Collector) -> Any:
    items = value if many and isinstance(value, (list, tuple)) else [value]
    if not items or not all(_is_number(item) and math.isfinite(item) for item in items):
        wanted = "numbers" if many else "a number"
        fix = "finite numbers; in YAML unquoted and with a dot: 1.0e-3"
        collector.add(problem(f"{name}: {value!r}", f"{name} takes {wanted}", fix=fix, where=name))
        return None
    return tuple(float(item) for item in items) if many else float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _say(points: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={point:g}" for name, point in points.items())
