"""How a match compares two taps: its loss, schedule and temperature, and what is wrong with its words and numbers. All
of it without a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from textkd import losses
from textkd.errors import Collector, Problem, TextkdError, fail, problem
from textkd.losses import Loss
from textkd.models.taps import Tap
from textkd.objective import projections
from textkd.objective.layer_maps import read_layers
from textkd.objective.match import Match
from textkd.objective.schedules import Schedule
from textkd.objective.tap_pairs import Ends, Models, owned_ends, written_ends

# of logits, by what the labels of the task are: a softmax is for one class of several
OF_LOGITS = {"flags": "bce", "numbers": "mse"}
DEFAULT_LOSS = {"hidden": "mse", "attention": "mse", "scores": "mse", "heads": "mse"}
NO_PROJECTION = (None, "auto", "none")
COLDEST, HOTTEST = 1e-3, 1e4  # temperatures
LIGHTEST, HEAVIEST = 1e-20, 1e20  # weights


class Comparison(NamedTuple):
    loss: Loss
    schedule: Schedule
    temperature: Schedule | None


def comparison(match: Match, family: str, label_loss: str | None) -> Comparison:
    """Loss, schedule and temperature of a match whose taps are of `family`; every problem of them at once."""
    found, loss, schedule, temperature = Collector(), None, None, None
    with found.collecting("loss"):
        loss = _loss(match.loss, family, label_loss)
    if loss is not None:
        found.add(*_option_problems(match, loss), *_engine_problems(match, loss))
    with found.collecting("schedule"):
        schedule = Schedule.parse(1.0 if match.schedule is None else match.schedule)
        if not any(schedule.values):
            fix = "numbers above 0; remove the match to switch it off"
            raise fail(
                f"schedule {match.schedule}", "it is 0 from begin to end: the match would teach nothing", fix=fix
            )
    with found.collecting("temperature"):
        temperature = None if match.temperature is None else Schedule.parse(match.temperature, positive=True)
        found.add(*_degree_problems(() if temperature is None else temperature.values, "temperature"))
    found.add(*_degree_problems((match.options.get("temperature"),), "options.temperature"))
    found.add(*_weight_problems(match.weight), *_projection_problems(match.projection, family))
    if match.fused and loss is not None:
        found.add(*_fused_problems(match, loss, family))
    found.raise_any()
    assert loss is not None
    assert schedule is not None
    return Comparison(loss, schedule, temperature)


def _loss(asked: str | Callable[..., Any] | None, family: str, label_loss: str | None) -> Loss:
    if asked is not None and not isinstance(asked, str):
        return losses.as_loss(asked, family)
    targets = losses.get(label_loss, "labels").targets if label_loss else ""
    default = {**DEFAULT_LOSS, "logits": OF_LOGITS.get(targets, "kl")}.get(family, label_loss or "cross_entropy")
    loss = losses.get(asked or default, family)
    targets = targets or loss.targets
    if (family == "labels" or "labels" in loss.needs) and loss.targets != targets:
        what, fix = f"it takes {loss.targets}, and the labels of this task are {targets}", "another loss"
        fix = f"loss: {label_loss}, or leave it out" if family == "labels" else fix
        raise fail(f'loss "{loss.name}" on {family}', what, fix=fix)
    return loss


def _option_problems(match: Match, loss: Loss) -> list[Problem]:
    problems = [replace(p, where=f"options.{p.where}".rstrip(".")) for p in losses.check_options(loss, match.options)]
    if match.temperature is None:
        return problems
    asked = f"temperature {match.temperature}"
    if not loss.needs_temperature:
        found = f'loss "{loss.name}" has no temperature'
        problems.append(problem(asked, found, where="temperature", fix="leave it out"))
    if "temperature" in match.options:
        problems.append(problem(asked, "`options.temperature` is there too", where="temperature", fix="keep one"))
    return problems


def _degree_problems(values: Sequence[Any], where: str) -> list[Problem]:
    """Temperatures at which float32 holds no differences: of all classes alike, or of one class alone."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if all(COLDEST <= value <= HOTTEST for value in numbers if value > 0):
        return []
    what = f"between {COLDEST:g} and {HOTTEST:g} float32 tells classes apart, beyond that nothing is learnt"
    return [problem(f"{where} {', '.join(f'{value:g}' for value in numbers)}", what, fix="as 4.0", where=where)]


def _weight_problems(weight: Any) -> list[Problem]:
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if is_number and LIGHTEST <= weight <= HEAVIEST:
        return []
    if is_number and 0 < weight < math.inf:
        what, fix = "float32 holds no gradient of such a size", f"a number from {LIGHTEST:g} to {HEAVIEST:g}"
        return [problem(f"weight {weight!r}", what, fix=fix, where="weight")]
    fix = "a number above 0; remove the match to switch it off"
    return [problem(f"weight {weight!r}", "not a positive number", fix=fix, where="weight")]


def _fused_problems(match: Match, loss: Loss, family: str) -> list[Problem]:
    found, asked, fix = Collector(), "fused: true", "fused: false"
    if family not in ("labels", "logits"):
        what = f"a tap of {family}; it is for logits and labels over a large vocabulary"
        found.add(problem(asked, what, fix=fix, where="fused"))
    elif not loss.chunkable:
        able = sorted({name for name in losses.names(family) if losses.get(name, family).chunkable})
        what = f'loss "{loss.name}" needs the logits whole'
        found.add(problem(asked, what, fix=f"{fix}, or one of {', '.join(able)}", where="fused"))
    if match.combine is not None:
        what = "several teachers become one target, for which their logits are made whole"
        found.add(problem(f"{asked} with combine: {match.combine}", what, fix=fix, where="fused"))
    if match.options.get("chunk") == 0:
        found.add(problem(f"{asked} with options.chunk: 0", "that keeps the logits whole", fix="leave chunk out",
                          where="fused"))  # fmt: skip
    if match.projection not in NO_PROJECTION:
        what = "a projection takes the logits whole"
        found.add(problem(f"{asked} with projection: {match.projection}", what, fix=fix, where="fused"))
    return found.problems


def _projection_problems(kind: str | None, family: str) -> list[Problem]:
    if kind in NO_PROJECTION:
        return []
    if kind not in projections.NAMES:
        fix = f"one of auto, none, {', '.join(projections.NAMES)}"
        found = "no such projection"
        near = (str(kind), ["auto", "none", *projections.NAMES])
        return [problem(f'projection "{kind}"', found, near=near, fix=fix, where="projection")]
    if family in ("labels", "attention", "scores"):
        found = f"{family} have no width that could be projected"
        return [problem(f'projection "{kind}"', found, fix="leave it out", where="projection")]
    return []


def tap_problems(match: Match, loss: Loss, ends: Ends) -> list[Problem]:
    """A tap named twice, for a loss that compares what lies between its taps."""
    words = ("tap", "tap") if match.tap else ("student", "teacher")
    return _engine_problems(match, loss, zip(words, map(_as_written, ends), strict=True))


def _as_written(taps: Sequence[Tap]) -> Sequence[object]:
    """The taps of one side; where all are of one model, as the match writes them, without the model."""
    return taps if len({tap.model for tap in taps}) > 1 else [tap.address for tap in taps]


def _engine_problems(match: Match, loss: Loss, sides: Iterable[tuple[str, Sequence[object]]] = ()) -> list[Problem]:
    """What the loss promises and this match does not give."""
    return losses.engine_problems(loss, match.options, target_gradient=match.target_gradient, sides=sides)


def needs_teacher(match: Match) -> bool:
    """Whether `match` compares with a teacher; labels and losses that stand alone do not."""
    try:
        family = written_ends(match)[0][0].address.family
        alone = isinstance(match.loss, str) and not losses.get(match.loss, family).needs_teacher
        return not (family == "labels" or alone)
    except TextkdError:
        return True  # what is wrong with it is told elsewhere


def check_words(
    matches: Sequence[Match], label_loss: str | None, names: tuple[Sequence[str], Sequence[str]] | None = None
) -> None:
    """`bind` as far as it goes without models: misspelt taps, losses, options, layer maps, schedules, projections, bad
    numbers. label_loss: see `bind`; None: not known, so the loss of `labels` is not looked at. names: of the models
    that learn and of those that are read; with them, whether a match names others. Raises `TextkdError`."""
    found = Collector()
    sides: Any = [dict.fromkeys(part) for part in names or ()]
    models = Models(*sides) if sides else None
    for i, match in enumerate(matches):
        with found.collecting(f"[{i}]"):
            sources, _ = written_ends(match)
            with found.collecting():
                how = comparison(match, sources[0].address.family, label_loss)
                found.add(*tap_problems(match, how.loss, written_ends(match)))
            if models is not None:
                with found.collecting():
                    owned_ends(match, written_ends(match), models, needs_teacher(match))
            if match.layers is not None:
                read_layers(match.layers)
    found.raise_any()
