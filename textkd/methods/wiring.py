"""From matches to things that run: objective, capture on the student, teacher. Shapes are tried on a real batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from textkd import projections
from textkd.errors import Collector
from textkd.inputs import inputs_of
from textkd.losses import check_shapes
from textkd.matches import Match, Pair, bind
from textkd.objective import Objective
from textkd.taps import Capture, anatomy
from textkd.teachers import LiveTeacher

log = logging.getLogger("textkd")


@dataclass
class Wiring:
    """What one training needs: call ``objective(taps of capture, teacher.taps(batch), batch)`` in every step."""

    objective: Objective
    capture: Capture
    teacher: LiveTeacher | None

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
) -> Wiring:
    """Binds `matches` to the two models, tries every tap on `batch` (two or more real rows) without training, adds the
    projections that differing widths need to the student, and wakes nothing else.

    autocast: the dtype the teacher computes in. Raises one `TextkdError` with every problem of every match.
    """
    pairs = bind(matches, anatomy(student), None if teacher is None else anatomy(teacher), problem_type)
    if all(pair.teacher is None for pair in pairs):
        teacher = None  # nobody asks it
    with _evaluating(student):
        mine = _probe(student, Objective(pairs).student_addresses, batch)
    theirs = {} if teacher is None else _probe_teacher(teacher, Objective(pairs).teacher_addresses, batch)
    pairs, adapters = _project(student, pairs, mine, theirs)
    objective = Objective(pairs)
    capture = Capture(student, _captured(pairs, adapters), projections=adapters)
    live = None if teacher is None else LiveTeacher(teacher, objective.teacher_addresses, autocast)
    return Wiring(objective, capture, live)


def check(
    student: nn.Module, teacher: nn.Module, matches: Sequence[Match], batch: Mapping[str, Tensor], problem_type: str
) -> list[Pair]:
    """`wire` without any lasting effect: the bound pairs, or a `TextkdError` with every problem."""
    before = set(projections.names(student))
    wiring = wire(student, teacher, matches, batch, problem_type)
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


def _project(
    student: nn.Module, pairs: list[Pair], mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> tuple[list[Pair], dict[str, tuple[str, nn.Module]]]:
    found, out, adapters = Collector(), [], {}
    for pair in pairs:
        if pair.teacher is None:
            out.append(replace(pair, projection=None))
            continue
        s, t = mine[str(pair.student)], theirs[str(pair.teacher)]
        kind = _kind(pair, s.shape[-1], t.shape[-1])
        if kind is not None:
            if pair.name not in projections.names(student):
                log.info(
                    "%s: %d wide, the teacher %d: a %s projection is trained on the student's side",
                    pair.name,
                    s.shape[-1],
                    t.shape[-1],
                    kind,
                )
            adapter = projections.attach(student, pair.name, projections.build(kind, s.shape[-1], t.shape[-1]))
            adapters[pair.name] = (str(pair.student), adapter)
        shape = (*s.shape[:-1], t.shape[-1]) if kind is not None else tuple(s.shape)
        with found.collecting(pair.name):
            found.add(*check_shapes(pair.loss, tuple(shape), tuple(t.shape)))
        out.append(replace(pair, projection=kind))
    found.raise_any()
    return out, adapters


def _kind(pair: Pair, student_width: int, teacher_width: int) -> str | None:
    if pair.projection != "auto":
        return None if pair.projection == "none" else pair.projection
    return "linear" if pair.student.family == "hidden" and student_width != teacher_width else None


def _captured(pairs: list[Pair], adapters: Mapping[str, object]) -> list[str]:
    return list(
        dict.fromkeys("logits" if p.teacher is None else str(p.student) for p in pairs if p.name not in adapters)
    )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
