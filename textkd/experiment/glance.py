"""A look at teachers that are used as they are, before anything is trained: a few rows are enough to see the worst."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from torch import nn

from textkd.errors import TextkdError
from textkd.experiment.setup import Setup
from textkd.models.forward import forward_inputs, positions

ROWS = 64
MOST = 6e10  # weights times tokens that a look may take: about a second on two cores


def glances(setup: Setup) -> list[str]:
    """What is wrong with the answers of teachers that nobody trains here, a sentence each.

    Args:
        setup: of an experiment whose models and data are good.
    """
    trained = {name for training in setup.experiment.trainings for name in training.trains}
    specs, running = setup.experiment.models, setup.models.running
    given = {name: model for name, model in running.items() if specs[name].teaches and name not in trained}
    return [f"{name}: {told}" for name, model in given.items() if (told := _glance(setup, name, model))]


def _glance(setup: Setup, name: str, model: Any) -> str:
    task, rows = setup.experiment.task, setup.rows
    words, (columns, length) = rows.own_words.get(name), rows.room
    if words is not None:
        columns, length = forward_inputs(model), min(rows.max_length or task.default_length, positions(model))
    own = rows.tokenizer if words is None else words
    with suppress(TextkdError):  # numbers that are not finite are told elsewhere
        found = task.short(own, "eval", columns, length, ROWS)
        if found is None:
            return ""
        some = found[0].select(range(_affordable(model, found[0]["length"])))
        said, truth = (_said(setup, model, own, some), task.output.references(some)) if len(some) else ((), ())
        if len(some) and (told := task.output.poor(said, truth, found[1])):
            return (f"tried on short rows of eval: {told}. A good teacher is seen so less than once in 1,000 times: is "
                    "it one of this task, with these labels? The run judges it on all rows")  # fmt: skip
    return ""


def _said(setup: Setup, model: Any, words: Any, some: Any) -> Any:
    task = setup.experiment.task
    return task.output.predict(model, some, task.collator(words, model))


def _affordable(model: nn.Module, lengths: list[int]) -> int:
    """How many rows a model may be given."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    each = sum(p.numel() for p in model.parameters()) - sum(p.numel() for one in tables for p in one.parameters())
    count, spent = 0, 0.0
    for length in lengths:
        spent += each * length
        if spent > MOST:
            break
        count += 1
    return count
