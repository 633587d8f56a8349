"""Which taps of student and teacher a match compares: the addresses it writes, its layer map, and the blocks that the
models have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textkd.errors import Collector, fail
from textkd.losses import Arity
from textkd.models.taps import Address, Anatomy
from textkd.objective.layer_maps import ALL, layer_map
from textkd.objective.match import Match

Ends = tuple[tuple[Address, ...], tuple[Address, ...]]  # taps of the student, taps of the teacher


def addresses(match: Match) -> Ends:
    """The addresses of each side as written."""
    if bool(match.tap) == bool(match.student or match.teacher):
        what = "`tap` beside `student`/`teacher`" if match.tap else "neither `tap` nor `student` and `teacher`"
        raise fail("a match", what, fix="`tap` for the same address on both sides, or `student` and `teacher`")
    if not match.tap and not (match.student and match.teacher):
        only = "student" if match.student else "teacher"
        raise fail("a match of two addresses", f"only `{only}`", fix="give both")
    found, ends = Collector(), list[tuple[Address, ...]]()
    for side in ("tap",) if match.tap else ("student", "teacher"):
        given = getattr(match, side)
        with found.collecting(side):
            ends.append(tuple(map(Address.parse, [given] if isinstance(given, str | Address) else given)))
    found.raise_any()
    students, teachers = ends[0], ends[-1]
    first = students[0]
    for other in students[1:]:
        if (other.family, other.side) != (first.family, first.side):
            raise fail(f"{first} and {other}", "taps of different kinds or sides in one list", fix="a match for each")
    for other in teachers:
        if other.family != first.family:
            what = f"{first.family} beside {other.family}"
            raise fail(f"student {first} <- teacher {other}", what, fix="compare taps of one kind")
    return students, teachers


def taps_of(match: Match, ends: Ends, arity: Arity, student: Anatomy, teacher: Anatomy | None) -> list[Ends]:
    """The taps of every pair, with blocks that are there."""
    found, resolved = Collector(), list[Ends]()
    for students, teachers in _expand(match, ends, arity, student, teacher):
        mine, theirs = list[Address](), list[Address]()
        for address in students:
            with found.collecting("student" if match.student else "tap"):
                mine.append(student.resolve(address))
        for address in teachers:
            with found.collecting("teacher" if match.teacher else "tap"):
                theirs.append((teacher or student).resolve(address))
        resolved.append((tuple(mine), tuple(theirs)))
    found.raise_any()
    return resolved


def _expand(match: Match, ends: Ends, arity: Arity, student: Anatomy, teacher: Anatomy | None) -> list[Ends]:
    """The taps of every pair, the blocks that the addresses leave open given by the layer map."""
    students, teachers = ends
    if not teachers or teacher is None:
        _refuse_layers(match, students[0])
        return [ends]
    open_ = {_is_open(address) for address in (*students, *teachers)}
    if open_ == {True, False}:
        raise _half_open(students, teachers)
    if open_ == {False}:
        _refuse_layers(match, students[0])
        if arity:
            return [ends]
        return [((s,), (t,)) for s, t in _side_by_side(students, teachers)]
    columns = [_layers(match, s, t, arity, student, teacher) for s, t in _side_by_side(students, teachers)]
    if arity == "layers":
        return columns
    if arity == "kinds":  # of every pair of blocks all kinds together
        mine, theirs = (list(zip(*(column[side] for column in columns), strict=True)) for side in (0, 1))
        return list(zip(mine, theirs, strict=True))
    return [((s,), (t,)) for column in columns for s, t in zip(*column, strict=True)]


def _layers(match: Match, s: Address, t: Address, arity: Arity, student: Anatomy, teacher: Anatomy) -> Ends:
    """One kind of tap over all pairs of the layer map: the student's taps and the teacher's."""
    spec = "uniform" if match.layers is None else match.layers
    found, counts = Collector(), list[int]()
    for side, model, address in (("student", student, s), ("teacher", teacher, t)):
        with found.collecting(side if match.student else "tap"):
            counts.append(model.on(address).num_blocks)
    found.raise_any()
    if spec == ALL and arity == "layers":
        blocks = [range(1, count + 1) for count in counts]
        return tuple(replace(s, block=i) for i in blocks[0]), tuple(replace(t, block=j) for j in blocks[1])
    pairs = layer_map(spec, *counts)
    return tuple(replace(s, block=i) for i, _ in pairs), tuple(replace(t, block=j) for _, j in pairs)


def _side_by_side(students: Sequence[Address], teachers: Sequence[Address]) -> list[tuple[Address, Address]]:
    if len(students) != len(teachers):
        what = f"{len(students)} of the student beside {len(teachers)} of the teacher"
        raise fail("taps to compare one by one", what, fix="as many on both sides")
    return list(zip(students, teachers, strict=True))


def _half_open(students: Sequence[Address], teachers: Sequence[Address]) -> Exception:
    both = [("student", a) for a in students] + [("teacher", a) for a in teachers]
    side, other = next((side, address) for side, address in both if _is_open(address))
    _, fixed = next((side, address) for side, address in both if not _is_open(address))
    fix = f'"{other}:2", or the same on both sides with layers'
    return fail(f"{side} {other} beside {fixed}", f"{other} names no block", fix=fix, where=side)


def _refuse_layers(match: Match, address: Address) -> None:
    if match.layers is None:
        return
    if address.needs_block:
        open_ = replace(address, block=None)
        what, fix = "the address names its block already", f'"{open_}" with layers, or no layers'
    else:
        what, fix = "this tap is not one per block", "no layers"
    raise fail(f"layers beside {address}", what, fix=fix, where="layers")


def _is_open(address: Address) -> bool:
    return address.needs_block and address.block is None
