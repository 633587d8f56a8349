"""An exponential moving average of a training's weights, for the training to end in (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from textkd.training import fsdp

FILE = "average.safetensors"
COUNT = "steps averaged"


class Average(TrainerCallback):  # type: ignore[misc]
    """Keeps ``average = decay * average + (1 - decay) * weights`` of `model`'s parameters, step by step.

    decay: for short trainings it starts lower, at (1 + n) / (10 + n) after n steps, so that the first weights are
    forgotten. checkpoint: the folder to go on from, None at the start. Parameters that are frozen stay as they are.
    """

    def __init__(self, model: nn.Module, decay: float, checkpoint: str | Path | None = None) -> None:
        self.model, self.decay, self.steps = model, decay, 0
        self.average: dict[str, Tensor] = {}
        if checkpoint is not None:
            self.load(checkpoint)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights as they are now into the average."""
        trained = dict(self._trained())
        if not self.average:
            self.average = {name: p.detach().clone() for name, p in trained.items()}
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        averages = [fsdp.local(self._averaged(name, p)) for name, p in trained.items()]
        torch._foreach_lerp_(averages, [fsdp.local(p) for p in trained.values()], share)
        self.steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def take_over(self) -> None:
        """From now on the model has the averaged weights."""
        self._swap()
        self.average = {}

    def load(self, checkpoint: str | Path) -> None:
        """Goes back to the average in a checkpoint."""
        saved = load_file(Path(checkpoint) / FILE)
        self.steps = int(saved.pop(COUNT))
        self.average = {name: saved[name].to(p.device) for name, p in self._trained()}

    def save(self, folder: Path, writes: bool = True) -> None:
        """Writes the average into a checkpoint. All processes call it, one of them `writes`."""
        whole = fsdp.gathered(self.average)
        if writes:
            save_file({**whole, COUNT: torch.tensor(self.steps)}, folder / FILE)

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._trained():
            if name in self.average:
                kept = parameter.detach().clone()
                parameter.copy_(self._averaged(name, parameter))
                self.average[name] = kept

    def _averaged(self, name: str, parameter: nn.Parameter) -> Tensor:
        # what was loaded is whole; a model is put into shards only later
        self.average[name] = fsdp.shared_out(self.average[name], parameter)
        return self.average[name]

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        fsdp.reshard(self.model)
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)
