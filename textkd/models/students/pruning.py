"""How much is pruned round by round: a target for what a model costs, as sizes of its heads, units and stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from textkd.errors import TextkdError, fail
from textkd.models.architectures import PLANS
from textkd.models.students.copying import is_two_sided
from textkd.models.students.narrow import narrower
from textkd.models.students.widths import MULTIPLE, SIDED_WIDTHS, SIDES, WIDTHS, Sizes, have, sizes_of

CUBIC, LINEAR, ONE_SHOT = SCHEDULES = ("cubic", "linear", "one_shot")
STEPS = 1024  # places on the way from all to nothing
Widths = Mapping[str, int]  # words of the block `shrink`, as {"heads": 8, "ffn": 768}


def sparsity(schedule: str, number: int, rounds: int) -> float:
    """The share of what is to go that is gone after a pruning.

    Args:
        schedule: one of `SCHEDULES`. cubic: 1 - (1 - t/n)^3, fast at first and slow at the end (Zhu & Gupta 2017,
            arXiv:1710.01878).
        number: of the pruning, from 1; 0: none yet.
        rounds: how many there are.

    Example:
        >>> [round(sparsity("cubic", t, 4), 3) for t in range(5)]
        [0.0, 0.578, 0.875, 0.984, 1.0]
    """
    if schedule == ONE_SHOT:
        return float(number > 0)
    left = 1 - number / rounds
    return 1 - (left if schedule == LINEAR else left**3)


@dataclass(frozen=True)
class Found:
    """What each pruning leaves, and what that costs.

    Args:
        before: the cost of the whole model.
        widths: of each round.
        costs: of each round.
    """

    before: float
    widths: tuple[Widths, ...]
    costs: tuple[float, ...]


def widths_of(
    model: Any, kinds: Sequence[str], target: float | Callable[[float], float], cost: Callable[[Any], float],
    schedule: str = CUBIC, rounds: int = 1, unit: str = "", more: str = "",
) -> Found:  # fmt: skip
    """The widths after each pruning.

    All kinds give up the same share of what they have. At the end the least of that share is taken that meets the
    target, then feed-forward units, which are many and small, make up for the large steps of heads, so that little more
    goes than has to. The rounds before lie on the straight way there, each where what is gone is at least what the
    schedule says.

    Args:
        model: before it is pruned.
        kinds: what is pruned: heads, ffn, hidden; of two sides encoder_ffn and so on, or ffn for both.
        target: the most that the last round may cost, or f(cost of the whole) -> it.
        cost: f(config) -> the cost of a model of this class and config.
        schedule: as of `sparsity`.
        rounds: how many prunings.
        unit: of the cost, for messages.
        more: what else helps where no widths meet the target.

    Raises:
        TextkdError: a target that the model meets already, or that no widths meet; kinds that it has not.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> from textkd.models.students.cost import parameters, skeleton
        >>> sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 20}
        >>> model = BertModel(BertConfig(num_hidden_layers=2, **sizes))
        >>> count = lambda config: parameters(skeleton(model, config))
        >>> found = widths_of(model, ["heads", "ffn"], lambda whole: whole * 0.6, count, "cubic", 2)
        >>> found.before, found.widths, found.costs
        (35296, ({'heads': 3, 'ffn': 40}, {'heads': 3, 'ffn': 24}), (22424, 20856))
    """
    way = _Way(model, kinds, cost, unit, more)
    before = way.cost({})
    wanted = target(before) if callable(target) else target
    if wanted >= before:
        raise fail(f"a target of {way.said(wanted)}", f"the student has {way.said(before)} before anything is pruned",
                   fix=f"less than {_number(before)}", where="target")  # fmt: skip
    last = way.end(wanted)
    made, spent = list[Widths](), list[float]()
    for number in range(1, rounds):
        gone = sparsity(schedule, number, rounds)
        at = way.before(last, before - (before - way.cost(last)) * gone)
        made.append(at)
        spent.append(way.cost(at))
    return Found(before, (*made, last), (*spent, way.cost(last)))


def kinds_of(model: Any, kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds of a model, by side where it has two.

    Raises:
        TextkdError: a side of a model that has none; an architecture whose parts are not known.
    """
    two = is_two_sided(model)
    for stack in [getattr(model.config, side) for side in SIDES] if two else [model.config]:
        plan = PLANS.get(str(stack.model_type))
        if plan is None or not plan.attentions:
            known = ", ".join(name for name, one in PLANS.items() if one.attentions)
            what = f"nobody knows where the heads and units of {stack.model_type} lie"
            raise fail(f"pruning a {type(model).__name__}", what, fix=f"leave prune out; pruned can be: {known}")
    if two:
        every = [one if one in SIDED_WIDTHS else f"{side}_{one}" for one in kinds for side in SIDES]
        return tuple(dict.fromkeys(every))
    for kind in (kind for kind in kinds if kind not in WIDTHS):
        plain = kind.partition("_")[2]
        raise fail(f"prune {kind}", f"{type(model).__name__} has one stack of blocks and no sides", fix=plain,
                   where="kind")  # fmt: skip
    return tuple(kinds)


class _Way:
    """All widths between the whole model and the least of it, and what they cost."""

    def __init__(
        self, model: Any, kinds: Sequence[str], cost: Callable[[Any], float], unit: str = "", more: str = ""
    ) -> None:
        self.model, self.kinds, self.of_config = model, kinds_of(model, kinds), cost
        self.unit, self.more = unit, more
        self.known = dict[tuple[tuple[str, int], ...], float]()
        self.own = {kind: self._own(kind) for kind in self.kinds}
        self.step = {kind: self._step(kind) for kind in self.kinds}
        self.wrong: TextkdError | None = None

    def said(self, value: float) -> str:
        """A cost in words."""
        return f"{_number(value)} {self.unit}".strip()

    def _own(self, kind: str) -> int:
        return int(getattr(have(self._config(kind)), _width(kind)))

    def _config(self, kind: str) -> Any:
        side = _side(kind)
        return getattr(self.model.config, side) if side else self.model.config

    def _step(self, kind: str) -> int:
        """Of what a width is a multiple: whole vectors of the processor, dimensions for all heads."""
        if _width(kind) == "hidden":
            heads = have(self._config(kind)).heads
            return heads if self.own[kind] % math.lcm(heads, MULTIPLE) else math.lcm(heads, MULTIPLE)
        return MULTIPLE if _width(kind) == "ffn" and self.own[kind] > MULTIPLE else 1

    def cost(self, widths: Widths) -> float:
        key = tuple(sorted({**self.own, **widths}.items()))
        if key not in self.known:
            self.known[key] = self.of_config(self._made(widths))
        return self.known[key]

    def _sizes(self, widths: Widths) -> dict[str, Sizes]:
        """The sizes by side. Raises `TextkdError` where they cannot be."""
        changed = {kind: width for kind, width in widths.items() if width != self.own[kind]}
        stacks = {_side(kind): SimpleNamespace(config=self._config(kind)) for kind in self.kinds}
        sizes = {side: sizes_of(stack, changed, side) for side, stack in stacks.items()}
        if is_two_sided(self.model):
            narrower(self.model.config, sizes)
        return sizes

    def _made(self, widths: Widths) -> Any:
        return narrower(self.model.config, self._sizes(widths))

    def _at(self, share: float, ends: Widths, kinds: Sequence[str]) -> dict[str, int]:
        """The widths where so much of the way to the ends is gone: the nearest multiples."""
        found = dict[str, int]()
        for kind in kinds:
            own, step, end = self.own[kind], self.step[kind], ends[kind]
            exact = own - share * (own - end)
            found[kind] = min(own, max(end, round(exact / step) * step)) if 0 < share < 1 else (end if share else own)
        return found

    def _places(self, ends: Widths, kinds: Sequence[str], most: float = 1.0) -> Iterator[tuple[float, dict[str, int]]]:
        """All different widths on the way, those that cannot be left out."""
        last: dict[str, int] | None = None
        for number in range(STEPS + 1):
            share = most * number / STEPS
            widths = self._at(share, ends, kinds)
            if widths == last:
                continue
            last = widths
            try:
                self._sizes(widths)
            except TextkdError as error:
                self.wrong = error
                continue
            yield share, widths

    def end(self, wanted: float) -> dict[str, int]:
        """The largest widths that cost no more than what is wanted."""
        least = {kind: self.step[kind] for kind in self.kinds}
        places = list(self._places(least, self.kinds))
        if len(places) == 1 and self.wrong is not None:
            raise self.wrong  # nothing of this model can become narrower
        widths = [one for _, one in places]
        number = self._first(widths, wanted)
        if number is None:
            raise self._unreachable(wanted, widths[-1])
        share, found = places[number]
        fine = [kind for kind in self.kinds if _width(kind) == "ffn"]
        if len(fine) in (0, len(self.kinds)):
            return found
        # heads go in large steps: units are given back, or a step less of heads goes and more units
        tried = [[{**found, **one} for _, one in self._places(least, fine, share)]]
        if number:
            tried.append([{**widths[number - 1], **one} for _, one in self._places(least, fine)])
        fitting = [some[again] for some in tried if (again := self._first(some, wanted)) is not None]
        return max(fitting, key=self.cost)

    def before(self, last: Widths, wanted: float) -> dict[str, int]:
        """The largest widths on the way to the last ones that cost no more than what is wanted."""
        widths = [one for _, one in self._places(last, self.kinds)]
        number = self._first(widths, wanted)
        return dict(last) if number is None else widths[number]

    def _first(self, widths: Sequence[Widths], wanted: float) -> int | None:
        """The place of the first that costs no more; they fall."""
        low, high = 0, len(widths) - 1
        if self.cost(widths[high]) > wanted:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.cost(widths[middle]) <= wanted else (middle + 1, high)
        return low

    def _unreachable(self, wanted: float, least: Widths) -> TextkdError:
        last = ", ".join(f"{kind} {width}" for kind, width in least.items())
        what = f"the least that pruning reaches is {self.said(self.cost(least))} ({last})"
        fix = f"at least {_number(self.cost(least))} as the target"
        if not {"heads", "hidden"} & set(self.kinds) and not is_two_sided(self.model):
            fix += f", kind: [{', '.join(self.kinds)}, heads]"
        fix += ", fewer blocks (student: {shrink: {layers: ...}})" + self.more
        return fail(f"a target of {self.said(wanted)}", what, fix=fix, where="target")


def _side(kind: str) -> str:
    return kind.partition("_")[0] if kind in SIDED_WIDTHS else ""


def _width(kind: str) -> str:
    return kind.rpartition("_")[2]


def _number(value: float) -> str:
    return f"{round(value):,}" if value >= 1000 else f"{value:.4g}"
