"""Pruning is a chain: each student is cut out of the one before it as it ends, and the teacher brings it back."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from textkd.errors import TextkdError, fail
from textkd.experiment import about
from textkd.experiment.labelled import has_words, labelled
from textkd.experiment.measured import latency_of
from textkd.experiment.plan import Arguments, Compared, Experiment, ModelSpec, Source, Training
from textkd.experiment.shorthand import (
    CONTROL,
    MOST_ROUNDS,
    STUDENT,
    Common,
    Teacher,
    add_control,
    experiment_of,
    refuse,
    teacher_problems,
    with_teachers,
)
from textkd.models.files import read_record, write_json
from textkd.models.forward import positions
from textkd.models.processes import of_main, processes
from textkd.models.students.copying import is_two_sided
from textkd.models.students.cost import macs, parameters, skeleton
from textkd.models.students.pruning import Found, Widths, widths_of
from textkd.training.stages import Stage

PARAMETERS, MACS, MILLISECONDS = UNITS = ("parameters", "macs", "milliseconds")
SOME_LENGTH, ROWS = 128, 64
MEASURED = ".pruned.json"
STEPS = ("num_train_epochs", "max_steps")

__all__ = ["MOST_ROUNDS", "UNITS", "Pruning", "Sizing", "Target", "prune"]


@dataclass(frozen=True)
class Target:
    """The most that the last student may cost.

    Args:
        unit: one of `UNITS`: weights; multiplications of a row; milliseconds of a text on one thread.
        value: how many.
        is_share: it is a share of what the unpruned student costs.
        length: tokens of the row; None: of a typical training row.
    """

    unit: str
    value: float
    is_share: bool = False
    length: int | None = None

    def __str__(self) -> str:
        return f"{self.value:.0%} of the {self.unit}" if self.is_share else f"{self.value:,.10g} {self.unit}"


@dataclass(frozen=True)
class Pruning:
    """How a student is pruned.

    Args:
        target: what is left.
        kinds: what goes: heads, ffn, hidden (of two sides encoder_ffn and so on).
        schedule: how much each round takes, see `textkd.models.students.pruning.sparsity`.
        rounds: how many prunings.
        recover: epochs after each of them but the last, and before the first where the student has not learnt yet.
        by: how importance is measured; None: as `shrink` does.
    """

    target: Target
    kinds: tuple[str, ...]
    schedule: str
    rounds: int
    recover: float = 1.0
    by: str | None = None

    def __str__(self) -> str:
        how = f", by {self.by}" if self.by else ""
        if self.rounds == 1:
            return f"in one round{how}"
        return f"in {self.rounds} rounds, {self.schedule}{how}"


class Sizing:
    """The sizes of a student after each pruning, found before anything is trained.

    Args:
        pruning: what is wanted.
        max_length: tokens per row, as the recipe says.
        task: whose rows are measured; None: it cannot be read, which is told elsewhere.
        words: where the tokenizer is of a model that lies in no folder.
        folder: of the run, which keeps milliseconds: the same command finds the same sizes.
    """

    def __init__(self, pruning: Pruning, task: Any, max_length: int | None, folder: Path, words: str = "") -> None:
        self.pruning, self.task, self.max_length, self.folder, self.words = pruning, task, max_length, folder, words
        self.known = dict[str, Found]()
        self.length = SOME_LENGTH

    def widths(self, model: Any, number: int) -> Widths:
        """Of a round, from 0, as words of the block `shrink`. model: before anything is pruned.

        Raises:
            TextkdError: a target that cannot be met, or is met already.
        """
        return self.of(model).widths[number]

    def of(self, model: Any) -> Found:
        """All rounds; as of `widths`."""
        key = self._key(model)
        if key not in self.known:
            self.known[key] = of_main(lambda: self._kept(key) or self._found(model))
        return self.known[key]

    def settle(self) -> None:
        """Keeps what was measured with the run."""
        if self.pruning.target.unit == MILLISECONDS and self.known and processes().is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / MEASURED, {key: asdict(one) for key, one in self.known.items()})

    def cost(self, model: Any) -> str:
        """What a model costs, in words."""
        said = f"{parameters(model):,} parameters"
        if self.pruning.target.unit == MACS:
            said += f", {macs(model, self.length):,} MACs for {self.length} tokens"
        return said

    def _key(self, model: Any) -> str:
        """The same for a model before and after it has learnt."""
        shape = [[name, list(weight.shape)] for name, weight in model.named_parameters() if "textkd_" not in name]
        configs = [getattr(model.config, name, None) for name in ("encoder", "decoder")]
        heads = [getattr(one, "num_attention_heads", None) for one in (model.config, *configs)]
        told = json.dumps([type(model).__name__, shape, heads, asdict(self.pruning)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _kept(self, key: str) -> Found | None:
        file = self.folder / MEASURED
        if self.pruning.target.unit != MILLISECONDS or not file.is_file():
            return None
        known = read_record(file, "the sizes measured for", "delete it: they are measured anew").get(key)
        return None if known is None else Found(known["before"], tuple(known["widths"]), tuple(known["costs"]))

    def _found(self, model: Any) -> Found:
        pruning, target = self.pruning, self.pruning.target
        if is_two_sided(model) and target.unit != PARAMETERS:
            what = f"a {type(model).__name__} reads an image and writes a text: no row is like another"
            raise fail(f"target: {target}", what, fix="target: {parameters: 0.5}", where="target")
        if target.unit != PARAMETERS:
            self.length = target.length or self._typical(model)
            if target.length and (most := positions(model)) < target.length:
                raise fail(f"length: {target.length}", f"a {type(model).__name__} reads at most {most} tokens",
                           fix=f"length: {most}, or fewer", where="target.length")  # fmt: skip
        costs: Mapping[str, Callable[[Any], float]] = {
            PARAMETERS: lambda config: parameters(skeleton(model, config)),
            MACS: lambda config: macs(skeleton(model, config), self.length),
            MILLISECONDS: lambda config: latency_of(model, config, self.length),
        }
        wanted = (lambda whole: target.value * whole) if target.is_share else target.value
        words = {PARAMETERS: PARAMETERS, MACS: f"MACs of a row of {self.length} tokens",
                 MILLISECONDS: f"milliseconds of {self.length} tokens on one thread"}  # fmt: skip
        more = ", or fewer words (student: {vocabulary: task})" if target.unit == PARAMETERS else ""
        return widths_of(model, pruning.kinds, wanted, costs[target.unit], pruning.schedule, pruning.rounds,
                         words[target.unit], "" if is_two_sided(model) else more)  # fmt: skip

    def _typical(self, model: Any) -> int:
        """Tokens of a typical training row: the median of the first ones."""
        with suppress(TextkdError):
            if self.task is not None and has_words(self.task, model, self.words):
                rows = labelled(self.task, model, self.words, ROWS, self.max_length, few=True)
                return int(statistics.median_low([row["input_ids"].shape[1] for row in rows]))
        return self.max_length or SOME_LENGTH


def prune(
    common: Common, teachers: Mapping[str, Teacher], sizing: Sizing, cut: Callable[[int, str, str], Source],
    start: Source | None = None,
) -> Experiment:  # fmt: skip
    """A student that is made narrower round by round, and learns from the teachers after each one.

    The control goes through the same rounds, to the same sizes and by the same steps, and learns without a teacher.

    Args:
        teachers: by name; they stay as they are. Without a `start` the first one is what is pruned.
        sizing: how much is pruned.
        cut: f(round from 0, the name of the model that is cut, the name of what stands before all cuts) -> the source.
        start: where the student comes from before it is pruned; it first learns for as long as after a round.

    Raises:
        TextkdError: a teacher named as a round.
    """
    refuse(teacher_problems(teachers, "prune"))
    models, trainings = with_teachers(teachers)
    first, pruning = next(iter(teachers)), sizing.pruning
    shown = list(models)

    def add(prefix: str, end: str, like: list[Training]) -> list[Training]:
        before, made = first, list[Training]()
        whole = f"{prefix}_0" if start is not None else first
        for number in range(0 if start is not None else 1, pruning.rounds + 1):
            is_last = number == pruning.rounds
            name = end if is_last else f"{prefix}_{number}"
            if like and (number == 0 or before == first):
                source = models[like[0].name].source  # both begin alike
            else:
                source = start if number == 0 and start is not None else cut(number - 1, before, whole)
            taught = like[len(made)] if like else _round(common, name, tuple(teachers), None if is_last else pruning)
            if like:
                add_control(common, taught, models, trainings, name, source, about.pruned_control(pruning.rounds))
            else:
                say = about.pruned(number, pruning.rounds, str(pruning), sizing.cost)
                models[name] = ModelSpec(name, source, say, "prune" if number else STUDENT)
                trainings.append(taught)
                shown.append(name)
            made.append(taught)
            before = name
        return made

    rounds = add("round", STUDENT, [])
    if common.control is not False:
        add(CONTROL, CONTROL, rounds)
        shown.append(CONTROL)
    return experiment_of(common, models, trainings, Compared(tuple(shown), STUDENT, first))


def _round(common: Common, name: str, teachers: tuple[str, ...], short: Pruning | None) -> Training:
    """The training after a pruning. short: it is one of those in between."""
    base, stages = dict(common.training), common.stages
    if short is not None:
        base = {key: value for key, value in base.items() if key not in STEPS}
        stages = tuple(_shortened(stage, short.recover) for stage in stages)
    return Training(name, (name,), stages, teachers, Arguments(base), has_stages=common.has_stages)


def _shortened(stage: Stage, epochs: float) -> Stage:
    kept = {key: value for key, value in stage.training.items() if key not in STEPS}
    return replace(stage, training={**kept, "num_train_epochs": epochs})
