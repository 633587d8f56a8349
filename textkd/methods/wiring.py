"""From matches to things that run: objective, capture on the student, teacher. Shapes are tried on a real batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textkd import projections
from textkd.errors import fail
from textkd.inputs import evaluating, inputs_of
from textkd.matches import Match, Pair, bind
from textkd.methods.adapters import adapt
from textkd.objective import Objective
from textkd.taps import Address, Capture, anatomy
from textkd.teachers import LiveTeacher

SHARED = "module:encoder"  # its output, which a student that shares the encoder reads in place of its own


@dataclass
class Wiring:
    """What one training needs: call ``objective(taps of capture, teacher.taps(batch), batch)`` in every step.

    shared: the teacher's tap that stands in for the student's own encoder, "" without one (see `wire`)."""

    objective: Objective
    capture: Capture
    teacher: LiveTeacher | None
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
) -> Wiring:
    """Binds `matches` to the two models, tries every tap on `batch` (two or more real rows) without training, adds the
    projections that differing widths need to the student, and wakes nothing else.

    autocast: the dtype the teacher computes in. share_encoder: the student's encoder is the teacher's and frozen, so it
    runs once: the teacher's output stands in for the student's.

    Raises one `TextkdError` with every problem of every match.
    """
    pairs = bind(matches, anatomy(student), None if teacher is None else anatomy(teacher), problem_type)
    if all(pair.teacher is None for pair in pairs):
        teacher = None  # nobody asks it
    if share_encoder:
        _refuse_frozen_side(pairs)
    with evaluating(student):
        mine = _probe(student, Objective(pairs).student_addresses, batch)
    theirs = {} if teacher is None else _probe_teacher(teacher, Objective(pairs).teacher_addresses, batch)
    pairs, adapters = adapt(student, teacher, pairs, mine, theirs)
    objective = Objective(pairs)
    capture = Capture(student, _captured(pairs, adapters), projections=adapters)
    shared = SHARED if share_encoder and teacher is not None else ""
    asked = [*objective.teacher_addresses, *([shared] if shared else [])]
    live = None if teacher is None else LiveTeacher(teacher, asked, autocast)
    return Wiring(objective, capture, live, shared)


def check(
    student: nn.Module,
    teacher: nn.Module,
    matches: Sequence[Match],
    batch: Mapping[str, Tensor],
    problem_type: str,
    share_encoder: bool = False,
) -> list[Pair]:
    """`wire` without any lasting effect: the bound pairs, or a `TextkdError` with every problem."""
    before = set(projections.names(student))
    wiring = wire(student, teacher, matches, batch, problem_type, share_encoder=share_encoder)
    wiring.close()
    if not before:
        projections.detach(student)
    return wiring.objective.pairs


def _probe(model: nn.Module, addresses: list[str], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    capture = Capture(model, addresses)
    try:
        with torch.no_grad():
            taps: dict[str, Tensor] = capture.run(model, **inputs_of(model, batch))["taps"]
        return taps
    finally:
        capture.remove()


def _probe_teacher(model: nn.Module, addresses: list[str], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    teacher = LiveTeacher(model, addresses)
    try:
        return teacher.taps(batch)
    finally:
        teacher.close()


def _refuse_frozen_side(pairs: list[Pair]) -> None:
    frozen = [pair.name for pair in pairs if _is_in_encoder(pair.student)]
    if frozen:
        raise fail(f"{', '.join(frozen)} beside share_encoder", "the student's encoder is the teacher's and frozen",
                   fix="match the decoder and the logits, or do not share the encoder")  # fmt: skip


def _is_in_encoder(address: Address) -> bool:
    return address.side == "encoder" or address.path.partition(".")[0] == "encoder"


def _captured(pairs: list[Pair], adapters: Mapping[str, object]) -> list[str]:
    return list(
        dict.fromkeys("logits" if p.teacher is None else str(p.student) for p in pairs if p.name not in adapters)
    )
