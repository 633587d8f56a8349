"""A training step before any training: every match bound, every loss computed once, nothing changed."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from textkd.errors import Collector, Problem, fail, problem
from textkd.models.forward import evaluating
from textkd.objective import projections
from textkd.objective.match import Match
from textkd.objective.pair import Pair
from textkd.teachers.unchanged import shared_problems
from textkd.training import fsdp
from textkd.training.freezing import frozen as frozen_parts
from textkd.training.teaching import check_teaching
from textkd.training.wiring import Models, Reading, Wiring, by_name, wire

COMPILES = ("torch_compile", "torch_compile_backend", "torch_compile_mode")  # arguments that compile the student


def check(
    trained: Models,
    frozen: Models | None,
    matches: Sequence[Match],
    batch: Mapping[str, Tensor],
    label_loss: str,
    share_encoder: bool = False,
    rows: int = 0,
    frozen_names: Sequence[str] = (),
    compiled: bool = False,
    reading: Mapping[str, Reading] | None = None,
) -> list[Pair]:
    """`wire` without any lasting effect.

    Args:
        rows: of the training data; where they are known, `batch` is of them, and the losses of a first step are
            computed too.
        frozen_names: parts of the models that learn which this training leaves as they are.
        compiled: the training will compile the models that learn.
        reading: as of `wire`.

    Returns:
        The bound pairs.

    Raises:
        TextkdError: every problem of every match at once.
    """
    models = list(by_name(trained, "student").values())
    before = [set(projections.names(model)) for model in models]
    wiring = wire(trained, frozen, matches, batch, label_loss, share_encoder=share_encoder, rows=rows, reading=reading)
    try:
        for capture in wiring.learners.captures.values():
            if compiled:
                capture.for_compiled()
            if fsdp.asked():
                capture.for_sharded()
        if rows:
            _try(wiring, batch, frozen_names, by_name(frozen, "teacher"))
    finally:
        wiring.close()
        for model, had in zip(models, before, strict=True):
            if not had:
                projections.detach(model)
    return wiring.objective.pairs


def _try(
    wiring: Wiring, batch: Mapping[str, Tensor], frozen_names: Sequence[str], read: Mapping[str, nn.Module]
) -> None:
    """The losses of one step. Raises one `TextkdError` with all that cannot be computed or teaches nothing."""
    module = wiring.learners.module
    with evaluating(module), torch.random.fork_rng(devices=[]), frozen_parts(module, frozen_names):
        found = Collector()
        found.add(*(() if wiring.shared else shared_problems(wiring.learners.models, read)))
        found.raise_any()
        targets = wiring.frozen.taps(batch)
        device = next(module.parameters()).device
        forward = wiring.learners.forward(module, {name: column.to(device) for name, column in batch.items()})
        values = wiring.objective.dry_run(ChainMap(dict(forward.taps), targets), batch)  # type: ignore[arg-type]
        check_teaching(wiring.objective, wiring.learners.models, forward.taps, targets, batch, values)


@contextmanager
def recomputing(trained: Mapping[str, nn.Module], arguments: Mapping[str, Any]) -> Iterator[None]:
    """Inside, models compute activations anew in the backward if a training with `arguments` has them do so. Raises
    `TextkdError` for one that cannot."""
    asked = any(arguments.get(f"{name}_checkpointing") for name in ("gradient", "activation"))  # the old and the new
    already = {name for name, one in trained.items() for part in one.modules()
               if getattr(part, "gradient_checkpointing", False)}  # fmt: skip
    models = [one for name, one in trained.items() if asked and name not in already]
    for name, one in trained.items():
        if asked and not getattr(one, "supports_gradient_checkpointing", True):
            what, fix = f"{type(one).__name__} ({name}) does not support it", "gradient_checkpointing: false"
            raise fail("gradient_checkpointing", what, fix=fix)
    try:
        for one in models:
            _switched(one, "enable")
        yield
    finally:
        for one in models:
            _switched(one, "disable")


def _switched(model: nn.Module, how: str) -> None:
    """As Trainer does it; older versions of transformers call it otherwise."""
    new, old = f"activation_checkpointing_{how}", f"gradient_checkpointing_{how}"
    getattr(model, new if hasattr(model, new) else old)()


def row_problems(pairs: Sequence[Pair], training: Mapping[str, Any], rows: int) -> list[Problem]:
    """Batches that would be too small for a loss that compares samples, or never full where only full ones are taken.
    rows: of the training data, 0: not known."""
    size = training.get("per_device_train_batch_size", TrainingArguments.per_device_train_batch_size)
    if type(size) is not int or size < 1:
        return []  # told with the arguments
    rest = rows % size if rows and not training.get("dataloader_drop_last") else 0
    problems = []
    if training.get("dataloader_drop_last") and 0 < rows < size:
        asked, fix = f"full batches of {size}", "a smaller per_device_train_batch_size, or dataloader_drop_last: false"
        problems.append(problem(asked, f"{rows} rows: no batch is ever full, so no step is made", fix=fix))
    for pair in pairs:
        least = pair.loss.min_rows
        if size < least:
            asked, fix = f"batches of {size} for {pair.name}", f"training.per_device_train_batch_size: {least} or more"
            problems.append(problem(asked, f"it compares {least} samples or more", fix=fix, where=pair.place))
        elif 0 < rest < least:
            asked = f"a last batch of {rest} for {pair.name}"
            fix = "training.dataloader_drop_last: true, or another batch size"
            problems.append(problem(asked, f"it compares {least} samples or more", fix=fix, where=pair.place))
    return problems
