"""Puts other layers in the place of a model's own, as `factorise` and `cheap` ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import Collector, Problem, fail, problem
from textkd.models.architectures import PLANS, SIDED
from textkd.models.own.factors import factors
from textkd.models.own.pieces import Bottleneck, Grouped, LowRank, TiedOutput, WordTable
from textkd.models.own.rebuilt_words import (
    BOTTLENECK,
    EMBEDDINGS,
    GROUPED,
    LAYERS,
    PLACES,
    Piece,
    pieces_of,
    sides_of,
)

BEST, CUT, NONE = "best", "cut", "none"  # how two matrices begin
NEW = (LowRank, Bottleneck, Grouped, WordTable)


def stacks_of(model: Any, words: Mapping[str, Any]) -> dict[str, Any]:
    """What the blocks speak of: the model as "", or its sides by name.

    Args:
        model: of transformers.
        words: `factorise` and `cheap`.

    Raises:
        TextkdError: a side of a model that has none, or none of a model that has two; an architecture whose layers
            nobody knows.
    """
    sides, has = sides_of(words), SIDED.get(model.config.model_type, ())
    wrong, block = Collector(), next(iter(words))
    for side in sides:
        if side and side not in has:
            found, fix = f"{type(model).__name__} has one stack of blocks and no sides", f"put its keys into {block}"
            wrong.add(problem(f"student {block}.{side}", found, fix=fix, where=f"{block}.{side}"))
        elif not side and has:
            fix = f"{block}: {{decoder: {{...}}}}, or encoder, or both"
            wrong.add(problem(f"student {block}", f"{type(model).__name__} has two sides", fix=fix, where=block))
    wrong.raise_any()
    stacks = {side: getattr(model, side) if side else model for side in sides}
    known = [name for name, plan in PLANS.items() if plan.attentions]
    for side, stack in stacks.items():
        if (kind := str(stack.config.model_type)) not in known:
            where = f"{block}.{side}" if side else block
            fix = f"a model of one of these kinds: {', '.join(known)}"
            what = f"nobody knows where the linear layers of a {kind} model lie"
            wrong.add(problem(f"student {where}", what, fix=fix, where=where))
    wrong.raise_any()
    return stacks


def replace_layers(model: Any, words: Mapping[str, Any], start: str) -> None:
    """Puts other layers in the place of a model's own, in place.

    Args:
        model: of transformers, none of whose layers was replaced before.
        words: `factorise` and `cheap`, sound ones.
        start: of the weights of two matrices. `BEST`: the decomposition of what was there. `CUT`: some of its columns,
            which takes no time. `NONE`: random numbers, which are loaded over. All others begin random.

    Raises:
        TextkdError: with every size that cannot be.
    """
    if any(isinstance(module, NEW) for module in model.modules()):
        fix = "take the model that it was made of, or another one"
        raise fail(f"{type(model).__name__} with other layers", "its layers were replaced already", fix=fix)
    wrong, made = Collector(), list[tuple[Any, Piece, list[tuple[nn.Module, str]]]]()
    for side, stack in stacks_of(model, words).items():
        for place, piece in pieces_of(words, side).items():
            holders = [(stack, "")] if place == EMBEDDINGS else list(_linears(stack, place))
            sizes = _table_problems(stack, piece) if place == EMBEDDINGS else _layer_problems(holders, place, piece)
            wrong.add(*sizes)
            made.append((stack, piece, holders))
    wrong.raise_any()
    for stack, piece, holders in made:
        for holder, name in holders:
            if name:
                holder.set_submodule(name, _layer(holder.get_submodule(name), piece, start))
            else:
                _table(model, stack, piece, start)


def is_random(words: Mapping[str, Any]) -> list[str]:
    """The kinds of layers that begin random, whatever they stand for.

    Example:
        >>> is_random({"cheap": {"ffn": "grouped", "attention": "low_rank"}})
        ['grouped ffn']
    """
    found = list[str]()
    for side in sides_of(words):
        each = pieces_of(words, side).items()
        front = f"{side}'s " if side else ""
        found += [f"{front}{piece.kind} {place}" for place, piece in each if piece.kind in (GROUPED, BOTTLENECK)]
    return found


def _linears(stack: Any, place: str) -> Iterator[tuple[nn.Module, str]]:
    """(block, name in it) of every linear layer of a place."""
    plan = PLANS[stack.config.model_type]
    names = (plan.ffn, plan.ffn_out) if place == PLACES[0] else [name for four in plan.attentions for name in four]
    for block in plan.blocks(stack.base_model):
        yield from ((block, name) for name in names)


def _rank(piece: Piece, full: int) -> int:
    return piece.size if type(piece.size) is int else max(1, round(piece.size * full))


def _layer(old: Any, piece: Piece, start: str) -> nn.Module:
    """What stands for a linear layer."""
    width, out, bias = old.in_features, old.out_features, old.bias is not None
    where: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype}
    if piece.kind == GROUPED:
        return _silent(Grouped(width, out, int(piece.size), bias, **where))
    rank = _rank(piece, min(width, out))
    if piece.kind == BOTTLENECK:
        return _silent(Bottleneck(width, out, rank, bias, **where))
    new = LowRank(width, out, rank, bias, **where)
    if start != NONE:
        new.second.weight.data, new.first.weight.data = _factors(old.weight, rank, start)
        if bias:
            new.second.bias.data = old.bias.detach().clone()
    return new


def _factors(weight: Tensor, rank: int, start: str) -> tuple[Tensor, Tensor]:
    """([O, r], [r, I]) for a weight [O, I]."""
    if start == BEST:
        return factors(weight, rank)
    eye = torch.eye(rank, weight.shape[1], device=weight.device, dtype=weight.dtype)
    return weight.detach()[:, :rank].clone(), eye


@torch.no_grad()
def _silent(new: nn.Module) -> nn.Module:
    """A layer that begins random, with biases of 0."""
    for name, weight in new.named_parameters():
        if name.endswith("bias"):
            weight.zero_()
    return new


def _table(model: Any, stack: Any, piece: Piece, start: str) -> None:
    """Puts another table of words into a stack, and another output where that has the same weights."""
    old = stack.get_input_embeddings()
    names = {id(module): name for name, module in stack.named_modules()}
    new = WordTable(old, _rank(piece, min(old.weight.shape)))
    if start != NONE:
        new.table.weight.data, right = _factors(old.weight, new.up.in_features, start)
        new.up.weight.data = right.T.contiguous()
    own = f"{names[id(old)]}.weight"
    tied = [name for name, source in (getattr(stack, "all_tied_weights_keys", None) or {}).items() if source == own]
    for name in tied:
        place = name.removesuffix(".weight")
        stack.set_submodule(place, TiedOutput(new, stack.get_submodule(place).bias))
    stack.set_submodule(names[id(old)], new)
    if tied:
        for module in model.modules():
            _untie(module)


def _untie(module: Any) -> None:
    """Forgets which weights of a model are one, where they are not there any more."""
    for field in ("all_tied_weights_keys", "_tied_weights_keys"):
        known = getattr(module, field, None)
        if isinstance(known, Mapping):
            there = {name for name, _ in module.named_parameters(remove_duplicate=False)}
            kept = {name: source for name, source in known.items() if name in there and source in there}
            setattr(module, field, kept)


def _table_problems(stack: Any, piece: Piece) -> Iterator[Problem]:
    old = stack.get_input_embeddings()
    if not isinstance(old, nn.Embedding):
        what = f"a {stack.config.model_type} model has no table of words"
        yield problem(f"student {piece.where}", what, fix=f"leave {EMBEDDINGS} out, give {LAYERS}", where=piece.where)
    else:
        yield from _rank_problems(piece, old.num_embeddings, old.embedding_dim, "the table of words")


def _layer_problems(holders: list[tuple[nn.Module, str]], place: str, piece: Piece) -> list[Problem]:
    found, seen = list[Problem](), set[tuple[int, int]]()
    for holder, name in holders:
        old: Any = holder.get_submodule(name)
        if not isinstance(old, nn.Linear):
            what, fix = f"{name} is a {type(old).__name__}, no linear layer", "take another model"
            return [problem(f"student {piece.where}", what, fix=fix, where=piece.where)]
        shape = old.out_features, old.in_features
        if shape in seen:
            continue
        seen.add(shape)
        named = f"a linear layer of {place}"
        found += (_group_problems if piece.kind == GROUPED else _rank_problems)(piece, *shape, named)
    # layers of two shapes tell one thing
    return list({one.asked + one.found: one for one in found}.values())


def _rank_problems(piece: Piece, out: int, width: int, named: str) -> Iterator[Problem]:
    full, more = min(out, width), 1 if piece.kind == BOTTLENECK else 0
    rank, most = _rank(piece, full), (out * width - 1) // (out + width + more)
    asked = f"student {piece.where}: {piece.size}"
    if rank > full:
        what = f"{named} is {out} x {width}: its full rank is {full}"
        yield problem(asked, what, fix=f"at most {most}, from which on it is smaller than it was", where=piece.where)
    elif rank > most:
        what = (
            f"{named}, {out} x {width}, would be larger than it was: {rank * (out + width + more):,} numbers in place "
        )
        what += f"of {out * width:,}"
        yield problem(asked, what, fix=f"at most {most}: from there on it is smaller", where=piece.where)


def _group_problems(piece: Piece, out: int, width: int, named: str) -> Iterator[Problem]:
    groups = int(piece.size)
    if out % groups or width % groups:
        fits = [n for n in range(2, min(out, width) + 1) if out % n == width % n == 0]
        near = sorted(fits, key=lambda n: abs(n - groups))[:3]
        what = f"{named} is {out} x {width}, which {groups} does not divide"
        fix = f"{' or '.join(map(str, sorted(near)))}" if near else "rank in place of groups"
        yield problem(f"student {piece.where}: {groups}", what, fix=fix, where=piece.where)
