"""Which taps a match compares: what it writes, whose the taps are, and the blocks that its layer map names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from textkd.errors import Collector, Problem, TextkdError, fail, nearest, problem
from textkd.losses import Arity
from textkd.models.taps import Anatomy, Tap
from textkd.objective.layer_maps import ALL, layer_map
from textkd.objective.match import Match

Ends = tuple[tuple[Tap, ...], tuple[Tap, ...]]  # the taps that learn, the taps that they learn from


@dataclass(frozen=True)
class Models:
    """The models of a training by name: those that learn in it, and those that are only read."""

    trained: Mapping[str, Anatomy]
    frozen: Mapping[str, Anatomy]

    def __getitem__(self, name: str) -> Anatomy:
        return self.trained[name] if name in self.trained else self.frozen[name]

    @property
    def names(self) -> list[str]:
        return [*self.trained, *self.frozen]

    def problems(self) -> list[Problem]:
        """Names that a tap could not tell apart, or that cannot be the name of a model."""
        fix = "letters, digits, - and _, as big or peer_2"
        found = [problem(f'a model called "{name}"', "no name of a model", fix=fix)
                 for name in self.names if not re.fullmatch(r"[\w-]+", name)]  # fmt: skip
        both = [name for name in self.trained if name in self.frozen]
        what = "one that learns and one that is only read have this name"
        return found + [problem(f'a model called "{name}"', what, fix="a name for each") for name in both]


def written_ends(match: Match) -> Ends:
    """The taps of each side as the match writes them; models that it does not name are ""."""
    if bool(match.tap) == bool(match.student or match.teacher):
        what = "`tap` beside `student`/`teacher`" if match.tap else "neither `tap` nor `student` and `teacher`"
        raise fail("a match", what, fix="`tap` for the same address on both sides, or `student` and `teacher`")
    if not match.tap and not (match.student and match.teacher):
        only = "student" if match.student else "teacher"
        raise fail("a match of two addresses", f"only `{only}`", fix="give both")
    found, ends = Collector(), list[tuple[Tap, ...]]()
    for side in ("tap",) if match.tap else ("student", "teacher"):
        given = getattr(match, side)
        with found.collecting(side):
            ends.append(
                tuple(map(Tap.parse, [given] if isinstance(given, str) or not isinstance(given, Sequence) else given))
            )
    found.raise_any()
    sources, targets = ends[0], ends[-1]
    if match.tap and any(tap.model for tap in sources):
        fix = f"tap: {sources[0].address} with from: MODEL, or student and teacher apart"
        raise fail(f"tap {sources[0]}", "a tap of both sides cannot be of one model", fix=fix, where="tap")
    _refuse_mixed(sources, targets)
    if match.teachers and any(tap.model for tap in targets):
        fix = "name the model once: in the tap, or with from"
        raise fail(f"teacher {targets[0]} with from: {', '.join(match.teachers)}", "both name a model", fix=fix)
    return sources, targets


def _refuse_mixed(sources: Sequence[Tap], targets: Sequence[Tap]) -> None:
    first = sources[0]
    for other in sources[1:]:
        if (other.address.family, other.address.side, other.model) != (
            first.address.family,
            first.address.side,
            first.model,
        ):
            raise fail(f"{first} and {other}", "taps of different kinds or sides in one list", fix="a match for each")
    for other in targets:
        if other.address.family != first.address.family:
            what = f"{first.address.family} beside {other.address.family}"
            raise fail(f"student {first} <- teacher {other}", what, fix="compare taps of one kind")


def owned_ends(match: Match, written: Ends, models: Models, needs_target: bool) -> list[Ends]:
    """The ends with the models that they belong to: of every trained model where the match does not name one.

    Raises:
        TextkdError: a model that is not there or does not learn, no teacher, several of which none is named.
    """
    sources, targets = written
    source, found, owners = sources[0].model, Collector(), list[str]()
    with found.collecting("student" if match.student else "tap"):
        if source and source not in models.trained:
            _refuse_model(source, models, learns=True)
    if needs_target:
        with found.collecting():
            owners = _owners(match, targets, models, source)
    found.raise_any()
    others = [name for name in models.trained if name not in owners]
    names = [source] if source else others or list(models.trained)  # nobody learns from itself, if others can
    return [(tuple(tap.of(name) for tap in sources), tuple(t.of(o) for o in owners for t in targets)) for name in names]


def _owners(match: Match, targets: Sequence[Tap], models: Models, source: str) -> list[str]:
    """The models that the targets belong to; several only where the match combines them."""
    named = list(match.teachers) or list(dict.fromkeys(tap.model for tap in targets if tap.model))
    found = Collector()
    for name in named:
        with found.collecting("from" if match.teachers else "teacher"):
            if name not in models.names:
                _refuse_model(name, models, learns=False)
    found.raise_any()
    if not named and len(models.frozen) == 1:
        named = list(models.frozen)
    if not named and not models.frozen:
        fix = "only {tap: labels} and losses that need no teacher (`textkd ls losses`) work without one"
        others = [name for name in models.trained if name != source]
        peers = len(models.trained) > 1
        what = f"there is no teacher, and none of {', '.join(others)} is named" if peers else "there is no teacher"
        raise fail(f"a teacher's {targets[0].address}", what, fix=f"from: {others[-1]}" if peers else fix)
    if not named:
        known = ", ".join(models.frozen)
        fix = f"add from: {next(iter(models.frozen))} to the match (logits also: from: [{known}] with combine)"
        what = f"the match does not say of which teacher; there are several teachers: {known}"
        raise fail(f"a teacher's {targets[0].address}", what, fix=fix, where="from")
    if len(named) > 1 and match.combine is None:
        fix = "add combine: mean_probabilities (or mean_logits, gate), or write a match for each teacher"
        what = "the match has several teachers, and combine is missing"
        raise fail(f"from: [{', '.join(named)}]", what, fix=fix, where="combine")
    return named


def _refuse_model(name: str, models: Models, learns: bool) -> None:
    if learns and name in models.frozen:
        fix = f"a tap of {' or '.join(models.trained)}"
        raise fail(f"{name} as the one that learns", "it is not trained here: it is only read", fix=fix)
    known = list(models.trained) if learns else models.names
    near = (name, known)
    raise fail(f'the model "{name}"', f"this training has {', '.join(models.names)}", near=near,
               fix=f"name {' or '.join(nearest(*near) or known)}")  # fmt: skip


def taps_of(match: Match, ends: Ends, arity: Arity, models: Models) -> list[Ends]:
    """The taps of every pair, with blocks that are there."""
    found, wrong, pairs = Collector(), dict[Problem, list[str]](), list[Ends]()
    for sources, targets in _expand(match, ends, arity, models):
        sides = ("student" if match.student else "tap", "teacher" if match.teacher else "tap")
        keys = sides if match.layers is None else ("layers", "layers")  # which wrote the blocks
        own, others = _resolved(sources, keys[0], models, wrong), _resolved(targets, keys[1], models, wrong)
        with found.collecting("teacher" if match.teacher else "from"):
            _refuse_itself(own, others)
        pairs.append((own, others))
    found.add(*(replace(p, asked=f"{p.asked} of {' and '.join(dict.fromkeys(of))}") for p, of in wrong.items()))
    found.raise_any()
    return pairs


def _resolved(taps: Sequence[Tap], key: str, models: Models, wrong: dict[Problem, list[str]]) -> tuple[Tap, ...]:
    """The taps with blocks counted from the front. wrong: takes each problem, and the models that have it."""
    good = []
    for tap in taps:
        try:
            good.append(Tap(models[tap.model].resolve(tap.address), tap.model))
        except TextkdError as error:
            for one in error.problems:
                wrong.setdefault(replace(one, where=key), []).append(tap.model)
    return tuple(good)


def _refuse_itself(sources: Sequence[Tap], targets: Sequence[Tap]) -> None:
    """A tap beside itself is alike from the start: it would learn nothing, and say so nowhere."""
    if len(sources) == 1 and list(sources) == list(targets):
        one = sources[0]
        raise fail(f"{one} <- {one}", "a tap that learns from itself", fix="another block, or another model")


def _expand(match: Match, ends: Ends, arity: Arity, models: Models) -> list[Ends]:
    """The taps of every pair, the blocks that the addresses leave open given by the layer map."""
    sources, targets = ends
    if not targets:
        _refuse_layers(match, sources[0])
        return [ends]
    if match.combine is not None:
        _refuse_layers(match, sources[0])
        return [ends]
    open_ = {_is_open(tap) for tap in (*sources, *targets)}
    if open_ == {True, False}:
        raise _half_open(sources, targets)
    if open_ == {False}:
        _refuse_layers(match, sources[0])
        if arity:
            return [ends]
        return [((s,), (t,)) for s, t in _side_by_side(sources, targets)]
    columns = [_layers(match, s, t, arity, models) for s, t in _side_by_side(sources, targets)]
    if arity == "layers":
        return columns
    if arity == "kinds":  # of every pair of blocks all kinds together
        own, others = (list(zip(*(column[side] for column in columns), strict=True)) for side in (0, 1))
        return list(zip(own, others, strict=True))
    return [((s,), (t,)) for column in columns for s, t in zip(*column, strict=True)]


def _layers(match: Match, s: Tap, t: Tap, arity: Arity, models: Models) -> Ends:
    """One kind of tap over all pairs of the layer map: the taps that learn and those they learn from."""
    spec = "uniform" if match.layers is None else match.layers
    found, counts = Collector(), list[int]()
    for side, tap in (("student", s), ("teacher", t)):
        with found.collecting(side if match.student else "tap"):
            counts.append(models[tap.model].on(tap.address).num_blocks)
    found.raise_any()
    if spec == ALL and arity == "layers":
        blocks = [range(1, count + 1) for count in counts]
        return tuple(s.at(i) for i in blocks[0]), tuple(t.at(j) for j in blocks[1])
    pairs = layer_map(spec, *counts)
    return tuple(s.at(i) for i, _ in pairs), tuple(t.at(j) for _, j in pairs)


def _side_by_side(sources: Sequence[Tap], targets: Sequence[Tap]) -> list[tuple[Tap, Tap]]:
    if len(sources) != len(targets):
        what = f"{len(sources)} of the student beside {len(targets)} of the teacher"
        raise fail("taps to compare one by one", what, fix="as many on both sides")
    return list(zip(sources, targets, strict=True))


def _half_open(sources: Sequence[Tap], targets: Sequence[Tap]) -> TextkdError:
    both = [("student", tap) for tap in sources] + [("teacher", tap) for tap in targets]
    side, other = next((side, tap.address) for side, tap in both if _is_open(tap))
    _, fixed = next((side, tap.address) for side, tap in both if not _is_open(tap))
    fix = f'give it one, as "{other}:2"; or write "{other}" for student and teacher and choose the blocks with layers'
    asked, what = f"{side}: {other} compared with {fixed}", f"{other} has no block number, {fixed} has one"
    return fail(asked, what, fix=fix, where=side)


def _refuse_layers(match: Match, tap: Tap) -> None:
    if match.layers is None:
        return
    if tap.address.needs_block:
        what, fix = "the address names its block already", f'"{tap.at(None).address}" with layers, or no layers'
    else:
        what, fix = "this tap is not one per block", "no layers"
    raise fail(f"layers beside {tap.address}", what, fix=fix, where="layers")


def _is_open(tap: Tap) -> bool:
    return tap.address.needs_block and tap.address.block is None
