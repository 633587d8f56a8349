"""The models that learn in a training: one by itself, or several in one module under one optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from textkd.models.forward import forward_inputs, own_columns
from textkd.models.taps import Capture
from textkd.objective.objective import Finish


@dataclass(frozen=True)
class Forward:
    """What a forward of the models that learn gave.

    Args:
        taps: by their whole names.
        losses: those that the forward finished with, by pair.
        outputs: of the model; of several models, by model.
    """

    taps: Mapping[str, Tensor]
    losses: Mapping[str, Tensor]
    outputs: Mapping[str, Any]


class Together(nn.Module):
    """Several models as one module. A forward takes the columns of a batch and returns the outputs of each model under
    ``models``, and under ``losses`` what `finishing` adds."""

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules.update(models)  # `add_module` would refuse names of attributes, such as "half"
        self._finish: Finish | None = None
        self._learning = frozenset(models)
        self._accepts = {name: forward_inputs(model) for name, model in models.items()}

    @property
    def models(self) -> dict[str, nn.Module]:
        """The models by name."""
        return dict(self.named_children())

    @contextmanager
    def finishing(self, finish: Finish | None, learning: frozenset[str]) -> Iterator[None]:
        """Inside, a forward ends with `finish`, so that DDP sees the weights that it uses, and models that are not
        `learning` run without gradient."""
        self._finish, self._learning = finish, learning
        try:
            yield
        finally:
            self._finish, self._learning = None, frozenset(self.models)

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """As of a PreTrainedModel: every model computes its activations anew in the backward."""
        self._enable("activation_checkpointing_enable", options)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """The same, by the name that older versions of transformers call."""
        self._enable("gradient_checkpointing_enable", options)

    def _enable(self, name: str, options: Mapping[str, Any]) -> None:
        for model in self.models.values():
            getattr(model, name)(**options)

    def forward(self, **batch: Tensor) -> dict[str, Any]:
        """See the class."""
        found = {}
        for name, model in self.models.items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and name in self._learning):
                found[name] = model(**accepted(own_columns(batch, name), self._accepts[name]))
        losses = {} if self._finish is None else self._finish(_named(found))
        return {"models": found, "losses": losses}


class Learners:
    """The models that learn, with their captures by name. `module` is what an optimizer and DDP see: the model itself,
    or `Together`."""

    def __init__(self, models: Mapping[str, nn.Module], captures: Mapping[str, Capture], module: nn.Module) -> None:
        self.models, self.captures, self.module = dict(models), dict(captures), module
        self._accepts = {name: forward_inputs(model) for name, model in models.items()}

    def forward(
        self,
        wrapped: nn.Module,
        batch: Mapping[str, Tensor],
        finish: Finish | None = None,
        learning: frozenset[str] | None = None,
        **more: Any,
    ) -> Forward:
        """One forward with taps.

        Args:
            wrapped: `module`, or what wraps it (DDP).
            batch: the columns; labels stay out of the forward, gradient taps are of them.
            finish: as `Objective.inside` gives it.
            learning: the models that are run with gradient, as `Objective.learning` says it; None: all.
            more: further inputs of the forward.
        """
        labels = batch.get("labels")
        with ExitStack() as stack:
            if isinstance(self.module, Together):
                for capture in self.captures.values():
                    stack.enter_context(capture.active(labels=labels))
                stack.enter_context(self.module.finishing(finish, learning or frozenset(self.models)))
                inputs = {name: column for name, column in batch.items() if name != "labels"}
                found = wrapped(**inputs, **more)
                outputs = {name: one["outputs"] for name, one in found["models"].items()}
                return Forward(_named(found["models"]), found["losses"], outputs)
            ((name, capture),) = self.captures.items()
            stack.enter_context(capture.active(_for_one(name, finish), labels))
            inputs = accepted(own_columns(batch, name), self._accepts[name])
            inputs.pop("labels", None)
            captured = wrapped(**inputs, **more)
        return Forward(_named({name: captured}), captured.get("losses", {}), captured["outputs"])

    def evaluate(self, wrapped: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        """The outputs of each model with its own loss, without taps."""
        if isinstance(self.module, Together):
            return dict(wrapped(**batch)["models"])
        (name,) = self.models
        return {name: wrapped(**accepted(own_columns(batch, name), self._accepts[name]))}

    def remove(self) -> None:
        """Takes all hooks off."""
        for capture in self.captures.values():
            capture.remove()


def join(models: Mapping[str, nn.Module]) -> nn.Module:
    """What an optimizer trains: the model itself, or all of them as one module."""
    return next(iter(models.values())) if len(models) == 1 else Together(models)


def accepted(batch: Mapping[str, Tensor], names: frozenset[str]) -> dict[str, Tensor]:
    """The columns that a forward takes."""
    return {name: column for name, column in batch.items() if name in names}


def _for_one(name: str, finish: Finish | None) -> Finish | None:
    return None if finish is None else lambda taps: finish({f"{name}/{key}": tap for key, tap in taps.items()})


def _named(captured: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """The taps of all models by their whole names."""
    return {f"{name}/{key}": tap for name, one in captured.items() for key, tap in one["taps"].items()}
