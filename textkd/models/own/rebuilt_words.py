"""The blocks `factorise` and `cheap` of a student, looked at before any model is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from textkd.errors import Problem, problem

BLOCKS = ("factorise", "cheap")
SIDES = ("encoder", "decoder")
EMBEDDINGS, LAYERS = FACTORISED = ("embeddings", "layers")
PLACES = ("ffn", "attention")  # the linear layers of a block
GROUPED, BOTTLENECK, LOW_RANK = KINDS = ("grouped", "bottleneck", "low_rank")
GROUPS, SHARE = 4, 0.25  # where nobody says how many groups, or which rank
EXAMPLES = {"factorise": "factorise: {embeddings: 128, layers: 64}", "cheap": "cheap: {ffn: grouped, groups: 4}"}


@dataclass(frozen=True)
class Piece:
    """How the layers of a place are made.

    Args:
        kind: one of `KINDS`; of embeddings low_rank.
        size: the groups, or the rank: a whole number, or a share of the full one.
        where: the key in the block of a student.
    """

    kind: str
    size: int | float
    where: str


def pieces_of(words: Mapping[str, Any], side: str = "") -> dict[str, Piece]:
    """What is asked of each place of a model, or of a side of it.

    Args:
        words: `factorise` and `cheap`, sound ones.
        side: "" of a model of one stack.

    Returns:
        Pieces by "embeddings", "ffn" and "attention"; nothing of what stays as it is.

    Example:
        >>> pieces_of({"factorise": {"embeddings": 8}, "cheap": {"ffn": "grouped"}})["ffn"].size
        4
    """
    found, front = dict[str, Piece](), f"{side}." if side else ""
    blocks = {name: _of_side(words.get(name), side) for name in BLOCKS}
    factorise, cheap = blocks["factorise"], blocks["cheap"]
    if EMBEDDINGS in factorise:
        found[EMBEDDINGS] = Piece(LOW_RANK, factorise[EMBEDDINGS], f"factorise.{front}{EMBEDDINGS}")
    layers = factorise.get(LAYERS)
    each: Mapping[str, Any] = (
        layers if isinstance(layers, Mapping) else dict.fromkeys(PLACES if LAYERS in factorise else (), layers)
    )
    for place, rank in each.items():
        tail = f".{place}" if isinstance(layers, Mapping) else ""
        found[place] = Piece(LOW_RANK, rank, f"factorise.{front}{LAYERS}{tail}")
    for place in (place for place in PLACES if place in cheap):
        kind = cheap[place]
        size = cheap.get("groups", GROUPS) if kind == GROUPED else cheap.get("rank", SHARE)
        found[place] = Piece(kind, size, f"cheap.{front}{'groups' if kind == GROUPED else 'rank'}")
    return found


def sides_of(words: Mapping[str, Any]) -> list[str]:
    """The sides that the blocks name; [""] where they name none."""
    named = {side for name in BLOCKS for side in SIDES if side in (words.get(name) or {})}
    return sorted(named, reverse=True) or [""]


def words_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """Those keys of a student's block that are told here."""
    return {name: block[name] for name in BLOCKS if name in block}


def word_problems(block: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with `factorise` and `cheap` in the block of a student.

    Args:
        block: as it was written.
    """
    found = list[Problem]()
    for name in (name for name in BLOCKS if name in block):
        found += _of_block(name, block[name])
    if found or len(words_of(block)) < len(BLOCKS):
        return found
    for side in ("", *SIDES):
        cheap, layers = _of_side(block["cheap"], side), _of_side(block["factorise"], side).get(LAYERS)
        twice = [place for place in PLACES if place in cheap and (place in layers if isinstance(layers, Mapping)
                                                                  else layers is not None)]  # fmt: skip
        for place in twice:
            front = f"{side}." if side else ""
            what, rest = f"the layers of {place} are either factorised or cheap", [o for o in PLACES if o != place]
            fix = f"give one of them, as factorise: {{layers: {{{rest[0]}: ...}}}}"
            found.append(problem(f"student factorise.{front}layers beside cheap.{front}{place}", what, fix=fix,
                                 where=f"cheap.{front}{place}"))  # fmt: skip
    return found


def _of_side(block: Any, side: str) -> Mapping[str, Any]:
    if not isinstance(block, Mapping):
        return {}
    if not side:
        return {key: value for key, value in block.items() if key not in SIDES}
    inner = block.get(side)
    return inner if isinstance(inner, Mapping) else {}


def _of_block(name: str, block: Any) -> Iterator[Problem]:
    if not isinstance(block, Mapping) or not block:
        found = "nothing in it" if block == {} else "not a block of keys"
        yield problem(f"student {name}: {block!r}", found, fix=f"for example {EXAMPLES[name]}", where=name)
        return
    sided, plain = ([key for key in block if (key in SIDES) == is_side] for is_side in (True, False))
    if sided and plain:
        what = f"{plain[0]} is of models of one stack, {sided[0]} is a side of an encoder-decoder"
        yield problem(f"student {name} {' and '.join(map(str, block))}", what, fix="keep one kind", where=name)
        return
    look = _of_ranks if name == "factorise" else _of_kinds
    if not sided:
        yield from look(block, name)
    for side in sided:
        if isinstance(block[side], Mapping) and block[side]:
            yield from look(block[side], f"{name}.{side}")
        else:
            fix = f"for example {side}: {{{EXAMPLES[name].partition('{')[2]}"
            yield problem(f"student {name}.{side}: {block[side]!r}", "not a block of keys", fix=fix,
                          where=f"{name}.{side}")  # fmt: skip


def _of_ranks(block: Mapping[str, Any], where: str) -> Iterator[Problem]:
    yield from _unknown(block, FACTORISED, where)
    for key in (key for key in FACTORISED if key in block):
        value = block[key]
        if key == EMBEDDINGS or not isinstance(value, Mapping):
            yield from _of_rank(value, f"{where}.{key}")
            continue
        if not value:
            yield problem(f"student {where}.{key}: {{}}", "nothing in it", fix=f"{key}: {{ffn: 64}}",
                          where=f"{where}.{key}")  # fmt: skip
        yield from _unknown(value, PLACES, f"{where}.{key}")
        for place in (place for place in PLACES if place in value):
            yield from _of_rank(value[place], f"{where}.{key}.{place}")


def _of_kinds(block: Mapping[str, Any], where: str) -> Iterator[Problem]:
    yield from _unknown(block, (*PLACES, "groups", "rank"), where)
    kinds = {place: block[place] for place in PLACES if place in block}
    for place, kind in kinds.items():
        if not isinstance(kind, str) or kind not in KINDS:
            yield problem(f"student {where}.{place}: {kind!r}", "no such kind of layer", near=(str(kind), KINDS),
                          fix=f"one of {', '.join(KINDS)}", where=f"{where}.{place}")  # fmt: skip
    if not kinds:
        fix = f"{where.rpartition('.')[2]}: {{ffn: grouped}}"
        yield problem(f"student {where}: {dict(block)!r}", "neither ffn nor attention in it", fix=fix, where=where)
        return
    if "groups" in block:
        value = block["groups"]
        if type(value) is not int or value < 2:
            yield problem(f"student {where}.groups: {value!r}", "not a number of groups", fix="2, 4 or 8, say",
                          where=f"{where}.groups")  # fmt: skip
        elif GROUPED not in kinds.values():
            yield _idle(where, "groups", GROUPED)
    if "rank" in block:
        wrong = list(_of_rank(block["rank"], f"{where}.rank"))
        if not wrong and not {BOTTLENECK, LOW_RANK} & {*map(str, kinds.values())}:
            wrong = [_idle(where, "rank", f"{BOTTLENECK} or {LOW_RANK}")]
        yield from wrong


def _idle(where: str, key: str, kinds: str) -> Problem:
    return problem(f"student {where}.{key}", f"it is of {kinds}, and nothing here is", fix=f"leave {key} out",
                   where=f"{where}.{key}")  # fmt: skip


def _of_rank(value: Any, where: str) -> Iterator[Problem]:
    fix = "a whole number such as 64, or a share of the full rank such as 0.25"
    if type(value) is int and value < 1:
        yield problem(f"student {where}: {value}", "a rank is 1 or more", fix=fix, where=where)
    elif type(value) is float and not 0 < value <= 1:
        yield problem(f"student {where}: {value}", "a share is above 0 and at most 1", fix=fix, where=where)
    elif type(value) not in (int, float):
        yield problem(f"student {where}: {value!r}", "neither a rank nor a share", fix=fix, where=where)


def _unknown(block: Mapping[str, Any], known: tuple[str, ...], where: str) -> Iterator[Problem]:
    for key in (str(key) for key in block if key not in known):
        yield problem(f"student {where} key {key}", "no such key", near=(key, known), fix=f"keys: {', '.join(known)}",
                      where=f"{where}.{key}")  # fmt: skip
