"""Whether every match teaches: a gradient of its loss that is not zero gets into weights of the model that learns."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import Collector, fail
from textkd.losses import LinearLogits
from textkd.objective import projections
from textkd.objective.objective import Objective, sources_of
from textkd.objective.pair import Pair

MOMENTS = (0.0, 0.5, 1.0)  # of a training: some losses begin or end with nothing
APART = 0.1  # how far, as a share of it, a target is moved where the student says the very same as its teacher


def check_teaching(
    objective: Objective, learners: Mapping[str, nn.Module], taps: Mapping[str, Tensor], targets: Mapping[str, Tensor],
    batch: Mapping[str, Tensor], values: Mapping[str, Tensor],
) -> None:  # fmt: skip
    """Tries one gradient of each pair.

    Args:
        objective: of the training.
        learners: the models that learn, by name.
        taps: of these, of a forward with gradient, by their whole names.
        targets: of the models that are only read.
        batch: the tensors that masks and labels come from.
        values: the loss of each pair at the begin of the training, by its name.

    Raises:
        TextkdError: one, with every pair whose loss teaches the models nothing.
    """
    ours = {id(one) for model in learners.values() for one in _projections(model)}
    found = Collector()
    for pair in objective.pairs:
        with found.collecting(pair.place):
            every = ChainMap(dict(taps), dict(targets))
            sources, others = pair.read
            moved = {name: _moved(every[name].detach()) for name in others if name not in sources}
            ways = [every, ChainMap(moved, every)]
            later = ((way, objective.value(pair, way, batch, at)) for at in MOMENTS for way in ways)
            _check(pair, chain([(ways[0], values[pair.name])], later), ours)
    found.raise_once()


def _check(pair: Pair, tried: Iterable[tuple[Any, Tensor]], ours: set[int]) -> None:
    asked, reached = f"the loss of {pair.name}", False
    for taps, value in tried:
        if not value.requires_grad:
            continue
        ends = [one.hidden if isinstance(one, LinearLogits) else one for one in sources_of(pair, taps)]
        ends = [end for end in ends if end.requires_grad]
        reached = reached or any(id(leaf) not in ours for end in ends for leaf in _leaves(end))
        given = torch.autograd.grad(value, ends, retain_graph=True, allow_unused=True)
        if reached and any(one is not None and bool(one.count_nonzero()) for one in given):
            return
    if not reached:
        what = "no gradient of it gets into a weight of the model: only its projection would learn"
        raise fail(asked, what, fix="do not freeze what the match should train, and do not detach what the loss takes")
    what = "its gradient is zero on the first rows, at the begin, in the middle and at the end: it teaches nothing"
    raise fail(asked, what, fix="look at its options and its temperature, or remove the match")


def _projections(model: nn.Module) -> Iterator[Tensor]:
    """The weights that stand between the model and its teacher, and those of losses."""
    own = getattr(model, projections.ATTRIBUTE, None)
    return iter(()) if own is None else own.parameters()


def _leaves(tensor: Tensor) -> Iterator[Tensor]:
    """The weights that a gradient of `tensor` reaches."""
    if tensor.grad_fn is None:
        yield from [tensor] if tensor.requires_grad else []
        return
    seen, waiting = set[Any](), list[Any]([tensor.grad_fn])
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            yield leaf
        waiting += [following for following, _ in node.next_functions]


def _moved(tap: Tensor) -> Tensor:
    """A tap a little beside itself; what was 0 stays 0."""
    return tap * (1 + APART * torch.randn_like(tap)) if tap.is_floating_point() else tap
