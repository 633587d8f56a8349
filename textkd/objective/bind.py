"""From matches to pairs: the taps of two given models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textkd.errors import Collector, Problem, fail, problem
from textkd.losses import Loss
from textkd.models.taps import Address, Anatomy
from textkd.objective.match import Match
from textkd.objective.match_checks import comparison, tap_problems
from textkd.objective.pair import Pair
from textkd.objective.tap_pairs import Ends, addresses, taps_of


def bind(matches: Sequence[Match], student: Anatomy, teacher: Anatomy | None, problem_type: str) -> list[Pair]:
    """The pairs of all matches over these two models. teacher None: only losses that need none. problem_type:
    transformers' word, for the loss of `labels`. Raises one `TextkdError` with every problem of every match."""
    found, pairs = Collector(), list[Pair]()
    for i, match in enumerate(matches):
        with found.collecting(f"[{i}]"):
            pairs.extend(_bind_one(match, student, teacher, problem_type))
    names = [pair.name for pair in pairs]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        what = "two matches compare the same taps with the same loss"
        found.add(problem(f'"{name}" twice', what, fix="remove one, or add up the weights"))
    if not matches:
        found.add(problem("no match", "nothing to learn from", fix="add at least {tap: labels} or {tap: logits}"))
    found.raise_any()
    return pairs


def _bind_one(match: Match, student: Anatomy, teacher: Anatomy | None, problem_type: str) -> list[Pair]:
    students, teachers = addresses(match)
    found, how, taps = Collector(), None, list[Ends]()
    with found.collecting():
        how = comparison(match, students[0].family, problem_type)
    if not how.loss.needs_teacher if how is not None else students[0].family == "labels":
        found.add(*_alone_problems(match, students))
        teachers = ()
    if teachers and teacher is None:
        found.raise_any()  # a misspelt loss may well be one that needs none
        fix = "only {tap: labels} and losses that need no teacher (`textkd ls losses`) work without one"
        raise fail(f"a teacher's {teachers[0]}", "there is no teacher", fix=fix)
    with found.collecting():
        taps = taps_of(match, (students, teachers), how.loss.arity if how is not None else "", student, teacher)
    if how is not None:
        found.add(*(p for ends in taps for p in tap_problems(match, how.loss, ends)))
    found.raise_any()
    assert how is not None
    rest = (how.loss, float(match.weight), how.schedule, how.temperature, match.projection, dict(match.options))
    return [Pair(_name(s, t, how.loss), s, t, *rest, fused=match.fused) for s, t in taps]


def _alone_problems(match: Match, students: Sequence[Address]) -> list[Problem]:
    """A loss without a teacher reads one tap."""
    if students[0].family != "labels" and match.teacher:
        fix = f"tap: {students[0]}"
        return [problem(f"teacher: {match.teacher}", f"{match.loss} needs no teacher", fix=fix, where="teacher")]
    return []


def _name(students: Sequence[Address], teachers: Sequence[Address], loss: Loss) -> str:
    if not teachers or (tuple(students) == tuple(teachers) and students[0].block is None):
        return f"{_joined(students)}/{loss.name}"
    mine, theirs = (dict.fromkeys(replace(a, block=None) for a in side) for side in (students, teachers))
    alike = list(mine) == list(theirs)
    numbered = alike and all(address.block is not None for address in teachers)
    blocks = "+".join(dict.fromkeys(str(address.block) for address in teachers))
    return f"{_joined(students)}<-{blocks if numbered else _joined(teachers)}/{loss.name}"


def _joined(addresses: Sequence[Address]) -> str:
    """One name of many: ``hidden:1+2+3``, ``query+key+value:3``."""
    kinds = list(dict.fromkeys(str(replace(address, block=None)) for address in addresses))
    blocks = list(dict.fromkeys(str(address.block) for address in addresses if address.block is not None))
    if len(kinds) > 1 and len(blocks) > 1:
        return "+".join(map(str, addresses))
    return "+".join(kinds) + (":" + "+".join(blocks) if blocks else "")
