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
from textkd.models.taps import Capture, anatomy
from textkd.models.taps.address import GRADIENT_KINDS
from textkd.objective.pair import Pair

Heads = tuple[nn.Linear | None, nn.Linear | None]  # of student and teacher
NO_HEADS: Heads = (None, None)
PLAIN = "fused: false"
LARGE = 256.0
CLOSE = 1e-3  # of the largest logit: arithmetic differs by less, a factor or a cap after the head by more
Batch = Mapping[str, Tensor]


def heads_of(pairs: Sequence[Pair], student: nn.Module, teacher: nn.Module | None, batch: Batch) -> Heads:
    """The layers that make the logits of the fused pairs, of student and teacher; None where no pair asks. batch: a
    real one, to try them on. Raises one `TextkdError` with every reason why the pairs cannot be fused."""
    fused = [pair for pair in pairs if pair.fused]
    taught = [pair for pair in fused if pair.teachers]
    if not fused:
        return NO_HEADS
    found = Collector()
    found.add(*_whole_beside(pairs, student))
    heads = list[nn.Linear | None]()
    for side, model, asking in (("student", student, fused), ("teacher", teacher, taught)):
        head = None if model is None or not asking else anatomy(model).head
        if model is not None and asking:
            problems = _no_head(asking, side, model) if head is None else _not_all(asking, side, model, head, batch)
            found.add(*problems)
        heads.append(head)
    found.raise_any()
    return heads[0], heads[1]


def fuse(pairs: Sequence[Pair], heads: Heads) -> list[Pair]:
    """The pairs, those that are fused with their heads."""
    return [
        replace(pair, heads=(heads[0], heads[1] if pair.teachers else None), inside=True) if pair.fused else pair
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


def _whole_beside(pairs: Sequence[Pair], student: nn.Module) -> list[Problem]:
    """Pairs that need the student's logits whole, so that fusing others saves nothing, or that read the head itself."""
    names, problems = _names([pair for pair in pairs if pair.fused]), []
    whole = [pair for pair in pairs if not pair.fused and _reads_logits(pair)]
    if whole:
        fix = f"fused: true for all of them, or {PLAIN}"
        problems.append(problem(f"{names} fused", f"{_names(whole)} need the same logits whole", fix=fix))
    head = anatomy(student).head
    path = next((name for name, module in student.named_modules() if head is not None and module is head), None)
    at_head = [pair for pair in pairs if any(a.kind == "module" and a.path == path for a in pair.students)]
    if at_head:
        what = f"{_names(at_head)} taps the layer that makes the logits, which has nothing to do then"
        problems.append(problem(f"{names} fused", what, fix=f"tap head_input, or {PLAIN}"))
    return problems


def _reads_logits(pair: Pair) -> bool:
    kinds = {address.kind for address in pair.students}
    return not kinds.isdisjoint({"logits", "labels", *GRADIENT_KINDS})


def _no_head(pairs: Sequence[Pair], side: str, model: nn.Module) -> list[Problem]:
    what = f"{type(model).__name__} has no linear layer that makes logits over a vocabulary"
    return [problem(f"{_names(pairs)} fused, of this {side}", what, fix=PLAIN, where=side)]


def _names(pairs: Sequence[Pair]) -> str:
    return ", ".join(pair.name for pair in pairs)
