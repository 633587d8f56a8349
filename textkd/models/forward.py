"""Running a model: what its forward takes of a batch, and eval mode that leaves no trace."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

SHARED_COLUMNS = ("labels", "example_id", "pixel_values")  # of a row, whatever its words are encoded as


def forward_inputs(model: nn.Module) -> frozenset[str]:
    """The named inputs of `model.forward`."""
    parameters = inspect.signature(model.forward).parameters.values()
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def own_columns(batch: Mapping[str, Tensor], model: str) -> Mapping[str, Tensor]:
    """The columns that a model reads of a batch.

    A model with a vocabulary of its own has columns of its own, as ``big/input_ids``: these take the place of all that
    are made from texts. Every other model reads the columns without a name before them.
    """
    own = {name.removeprefix(f"{model}/"): column for name, column in batch.items() if name.startswith(f"{model}/")}
    if not own:
        return batch if not any("/" in name for name in batch) else {k: v for k, v in batch.items() if "/" not in k}
    shared = {name: column for name, column in batch.items() if name in SHARED_COLUMNS}
    return {**shared, **own}


def inputs_of(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The columns of `batch` that `model` takes, without labels, on the model's device."""
    accepts, device = forward_inputs(model), next(model.parameters()).device
    return {k: v.to(device, non_blocking=True) for k, v in batch.items() if k in accepts and k != "labels"}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each module has its own mode again, also those that were set to eval on purpose."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def try_rows(model: Any, answer: Callable[[Any], Any]) -> tuple[Any, str]:
    """What a model answers in eval mode, or why it does not.

    Args:
        model: anybody's module.
        answer: f(model) -> what it says.

    Returns:
        (what it says, ""), or (None, a sentence).

    Example:
        >>> try_rows(nn.Linear(2, 2), lambda model: list(model(torch.ones(1, 2)).shape))
        ([1, 2], '')
        >>> try_rows(nn.Linear(2, 2), lambda model: model(torch.ones(1, 3)))[1][:45]
        'it fails on the first rows: RuntimeError: mat'
    """
    try:
        with evaluating(model), torch.inference_mode():
            return answer(model), ""
    except Exception as error:  # of whatever kind: the module is anybody's
        return None, f"it fails on the first rows: {type(error).__name__}: {str(error)[:200]}"


def positions(model: Any) -> int:
    """The longest row, in tokens, that a text model has positions for; a million where its config names no limit."""
    config = getattr(model, "config", None)
    config = getattr(config, "decoder", config)
    count = getattr(config, "max_position_embeddings", None)
    if not isinstance(count, int) or count < 1:
        return 10**6
    return count - max((_skipped(table) for table in _position_tables(model)), default=0)


def _position_tables(model: Any) -> list[Any]:
    """Learned ones, of whatever class: I-BERT has one of its own."""
    named = model.named_modules() if isinstance(model, nn.Module) else ()
    return [one for name, one in named if name.endswith("position_embeddings") and hasattr(one, "padding_idx")]


def _skipped(table: Any) -> int:
    """The rows before that of the first token. RoBERTa and its kin (MPNet, Longformer, ESM, ...) keep a row for padding
    and begin behind it."""
    return 0 if table.padding_idx is None else int(table.padding_idx) + 1
