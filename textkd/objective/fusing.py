"""Which pairs compute the logits inside their loss (`fused: true`), and why others cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import Collector, Problem, problem
from textkd.losses import LinearLogits
from textkd.models.forward import evaluating, inputs_of
from textkd.models.taps import Address, Capture, anatomy
from textkd.models.taps.address import GRADIENT_KINDS
from textkd.objective.pair import Pair

Heads = Mapping[str, nn.Linear]  # of models by name
PLAIN = "fused: false"
LARGE = 256.0
CLOSE = 1e-3  # of the largest logit: arithmetic differs by less, a factor or a cap after the head by more
Batch = Mapping[str, Tensor]


def heads_of(pairs: Sequence[Pair], models: Mapping[str, nn.Module], batch: Batch) -> Heads:
    """The layers that make the logits of the fused pairs, by the name of the model; none where no pair is fused.

    Args:
        models: all models of the training, by name.
        batch: a real one, to try the layers on.

    Raises:
        TextkdError: every reason why the pairs cannot be fused.
    """
    fused = [pair for pair in pairs if pair.fused]
    found, heads = Collector(), dict[str, nn.Linear]()
    found.add(*_whole_beside(pairs, models))
    asked = [(pair.source.model, "student", pair) for pair in fused]
    asked += [(name, "teacher", pair) for pair in fused for name in pair.models]
    for name, side in dict.fromkeys((name, side) for name, side, _ in asked):
        asking = [pair for *who, pair in asked if who == [name, side]]
        head = anatomy(models[name]).head
        if head is None:
            found.add(*_no_head(asking, side, models[name]))
            continue
        found.add(*_not_all(asking, side, models[name], head, batch))
        heads[name] = head
    found.raise_any()
    return heads


def fuse(pairs: Sequence[Pair], heads: Heads) -> list[Pair]:
    """The pairs, those that are fused with their heads."""
    return [
        replace(pair, heads=(heads[pair.source.model], heads[pair.models[0]] if pair.targets else None), inside=True)
        if pair.fused
        else pair
        for pair in pairs
    ]


def _not_all(pairs: Sequence[Pair], side: str, model: nn.Module, head: nn.Linear, batch: Batch) -> list[Problem]:
    """Why the logits of `model` are not what its head makes of its input, also where that is large: a cap on logits
    hardly touches the small ones of an untrained model."""
    seen = list[Tensor]()

    def enlarge(_: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> Any:
        seen.append(next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)) * LARGE)
        return (seen[-1],), {}

    handle, capture = head.register_forward_pre_hook(enlarge, with_kwargs=True), Capture(model, ["logits"])
    try:
        with torch.no_grad(), evaluating(model):
            logits = capture.run(model, **inputs_of(model, batch))["taps"]["logits"]
            made = [LinearLogits(hidden, head.weight, head.bias).whole() for hidden in seen]
    finally:
        handle.remove()
        capture.remove()
    if len(made) == 1 and made[0].shape == logits.shape:
        size = float(logits.abs().max())
        if float((made[0].float() - logits.float()).abs().max()) <= CLOSE * size:
            return []
    what = "its logits are not the output of its last linear layer: it scales, caps or cuts them afterwards"
    return [problem(f"{_names(pairs)} fused, of this {side}", what, fix=PLAIN, where=side)]


def _whole_beside(pairs: Sequence[Pair], models: Mapping[str, nn.Module]) -> list[Problem]:
    """Pairs that need the logits of a model whole, so that fusing others saves nothing, or that read its head."""
    problems = []
    for name in dict.fromkeys(pair.source.model for pair in pairs if pair.fused):
        own = [pair for pair in pairs if pair.source.model == name]
        names = _names([pair for pair in own if pair.fused])
        whole = [pair for pair in own if not pair.fused and _reads_logits(pair)]
        if whole:
            fix = f"fused: true for all of them, or {PLAIN}"
            problems.append(problem(f"{names} fused", f"{_names(whole)} need the same logits whole", fix=fix))
        head = anatomy(models[name]).head
        path = next(
            (path for path, module in models[name].named_modules() if head is not None and module is head), None
        )
        at_head = [pair for pair in own if any(_is_module(tap.address, path) for tap in pair.sources)]
        if at_head:
            what = f"{_names(at_head)} taps the layer that makes the logits, which has nothing to do then"
            problems.append(problem(f"{names} fused", what, fix=f"tap head_input, or {PLAIN}"))
    return problems


def _is_module(address: Address, path: str | None) -> bool:
    return address.kind == "module" and address.path == path


def _reads_logits(pair: Pair) -> bool:
    kinds = {tap.address.kind for tap in pair.sources}
    return not kinds.isdisjoint({"logits", "labels", *GRADIENT_KINDS})


def _no_head(pairs: Sequence[Pair], side: str, model: nn.Module) -> list[Problem]:
    what = f"{type(model).__name__} has no linear layer that makes logits over a vocabulary"
    return [problem(f"{_names(pairs)} fused, of this {side}", what, fix=PLAIN, where=side)]


def _names(pairs: Sequence[Pair]) -> str:
    return ", ".join(pair.name for pair in pairs)
