"""From matches to things that run: objective, capture on the student, teacher. Shapes are tried on a real batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from textkd.errors import Collector, Problem, fail, problem
from textkd.models.forward import evaluating, inputs_of
from textkd.models.taps import Address, Capture, anatomy
from textkd.objective import projections
from textkd.objective.adapters import Adapters, adapt
from textkd.objective.bind import bind
from textkd.objective.cache_limits import kept_problems
from textkd.objective.fusing import NO_HEADS, fuse, heads_of
from textkd.objective.match import Match
from textkd.objective.objective import Objective
from textkd.objective.pair import Pair
from textkd.teachers import CachedTeacher, CacheOptions, LiveTeacher, Teacher
from textkd.training import fsdp
from textkd.training.freezing import frozen

COMPILES = ("torch_compile", "torch_compile_backend", "torch_compile_mode")  # arguments that compile the student
SHARED = "module:encoder"  # its output, which a student that shares the encoder reads in place of its own


@dataclass
class Wiring:
    """What one training needs: call ``objective(taps of capture, teacher.taps(batch), batch)`` in every step.

    shared: the teacher's tap that stands in for the student's own encoder, "" without one (see `wire`)."""

    objective: Objective
    capture: Capture
    teacher: Teacher | None
    shared: str = ""

    def close(self) -> None:
        """Takes all hooks off both models. Projections stay on the student until `projections.detach`."""
        self.capture.remove()
        if self.teacher is not None:
            self.teacher.close()


def wire(
    student: nn.Module,
    teacher: nn.Module | None,
    matches: Sequence[Match],
    batch: Mapping[str, Tensor],
    problem_type: str = "single_label_classification",
    autocast: torch.dtype | None = None,
    share_encoder: bool = False,
    rows: int = 0,
    cache: CacheOptions | None = None,
    sharded: bool = False,
) -> Wiring:
    """Binds `matches` to the two models, tries every tap on `batch` (two or more real rows) without training, adds the
    projections that differing widths need to the student, and wakes nothing else.

    autocast: the dtype the teacher computes in. share_encoder: the student's encoder is the teacher's and frozen, so it
    runs once: the teacher's output stands in for the student's. rows: of the training data, for losses that remember
    each row. cache: the teacher's taps come from disk, as far as they are there. sharded: the processes share
    the teacher's weights out among them.

    Raises one `TextkdError` with every problem of every match.
    """
    pairs = bind(matches, anatomy(student), None if teacher is None else anatomy(teacher), problem_type)
    if not any(pair.teachers for pair in pairs):
        teacher = None  # nobody asks it
    if share_encoder:
        _refuse_frozen_side(pairs)
    found, heads, adapters = Collector(), NO_HEADS, Adapters()
    with found.collecting():
        heads = heads_of(pairs, student, teacher, batch)
    with evaluating(student):
        mine = _probe(student, Objective(pairs).student_addresses, batch)
    theirs = {} if teacher is None else _probe_teacher(teacher, Objective(pairs).teacher_addresses, batch)
    with found.collecting():
        pairs, adapters = adapt(student, teacher, pairs, mine, theirs, rows)
    found.add(*kept_problems(pairs, cache))
    found.raise_any()
    pairs = fuse(pairs, heads)
    objective = Objective(pairs)
    capture = Capture(student, _captured(pairs, adapters), projections=adapters)
    shared = SHARED if share_encoder and teacher is not None else ""
    asked = [*objective.teacher_addresses, *([shared] if shared else [])]
    padding = any(pair.loss.reads_padding(pair.options) for pair in pairs)
    taught = None if teacher is None else _teacher(teacher, asked, autocast, cache, sharded, padding)
    return Wiring(objective, capture, taught, shared)


def _teacher(
    model: nn.Module,
    asked: Sequence[str],
    autocast: torch.dtype | None,
    cache: CacheOptions | None,
    sharded: bool,
    padding: bool,
) -> Teacher:
    if sharded:
        return LiveTeacher(fsdp.in_shards(model), asked, autocast, stop_early=False, in_pieces=False)
    if cache is None:
        return LiveTeacher(model, asked, autocast, in_pieces=not padding)
    # the student runs on what is shared: rounding it would change the student
    return CachedTeacher(model, asked, cache.folder or "teachers/taps", cache, autocast, exact=[SHARED])


def check(
    student: nn.Module,
    teacher: nn.Module | None,
    matches: Sequence[Match],
    batch: Mapping[str, Tensor],
    problem_type: str,
    share_encoder: bool = False,
    rows: int = 0,
    asleep: Sequence[str] = (),
    compiled: bool = False,
) -> list[Pair]:
    """`wire` without any lasting effect: the bound pairs, or a `TextkdError` with every problem. Where the `rows` of
    the training data are known, `batch` is of them, and the losses of a first step are computed too, with the parts
    `asleep` frozen. compiled: the training will compile the student."""
    before = set(projections.names(student))
    wiring = wire(student, teacher, matches, batch, problem_type, share_encoder=share_encoder, rows=rows)
    try:
        if compiled:
            wiring.capture.for_compiled()
        if fsdp.asked():
            wiring.capture.for_sharded()
        if rows:
            _try(student, wiring, batch, asleep)
    finally:
        wiring.close()
        if not before:
            projections.detach(student)
    return wiring.objective.pairs


def _try(student: nn.Module, wiring: Wiring, batch: Mapping[str, Tensor], asleep: Sequence[str]) -> None:
    """The losses of one step. Raises one `TextkdError` with all that cannot be computed or teaches nothing."""
    with evaluating(student), torch.random.fork_rng(devices=[]), frozen(student, asleep):
        taught = {} if wiring.teacher is None else wiring.teacher.taps(batch)
        with wiring.capture.active(labels=batch.get("labels")):
            taps = student(**inputs_of(student, batch))["taps"]
        wiring.objective.tried(taps, taught, batch)


def row_problems(pairs: Sequence[Pair], training: Mapping[str, Any], rows: int) -> list[Problem]:
    """Batches that would be too small for a loss that compares samples. rows: of the training data, 0: not known."""
    size = training.get("per_device_train_batch_size", TrainingArguments.per_device_train_batch_size)
    rest = rows % size if rows and not training.get("dataloader_drop_last") else 0
    problems = []
    for pair in pairs:
        least = pair.loss.min_rows
        if size < least:
            asked, fix = f"batches of {size} for {pair.name}", f"per_device_train_batch_size: {least} or more"
            problems.append(problem(asked, f"it compares {least} samples or more", fix=fix))
        elif 0 < rest < least:
            asked, fix = f"a last batch of {rest} for {pair.name}", "dataloader_drop_last: true, or another batch size"
            problems.append(problem(asked, f"it compares {least} samples or more", fix=fix))
    return problems


def _probe(model: nn.Module, addresses: list[str], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    capture = Capture(model, addresses)
    try:
        with torch.no_grad():
            captured = capture.run(model, tap_labels=batch.get("labels"), **inputs_of(model, batch))
        return captured["taps"]
    finally:
        capture.remove()


def _probe_teacher(model: nn.Module, addresses: list[str], batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    teacher = LiveTeacher(model, addresses)
    try:
        return teacher.taps(batch)
    finally:
        teacher.close()


def _refuse_frozen_side(pairs: list[Pair]) -> None:
    frozen = [pair.name for pair in pairs if any(map(_is_in_encoder, pair.students))]
    if frozen:
        raise fail(f"{', '.join(frozen)} beside share_encoder", "the student's encoder is the teacher's and frozen",
                   fix="match the decoder and the logits, or do not share the encoder")  # fmt: skip


def _is_in_encoder(address: Address) -> bool:
    return address.side == "encoder" or address.path.partition(".")[0] == "encoder"


def _captured(pairs: list[Pair], adapters: Mapping[str, object]) -> list[str]:
    """What the student returns as it is: the taps that no projection stands for."""
    return list(
        dict.fromkeys(key for pair in pairs for i, key in enumerate(pair.read[0]) if pair.projected(i) not in adapters)
    )
