"""A teacher that is first trained on the task itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textkd.matches import Match
from textkd.methods.stages import Stage

LABELS_ONLY = (Match("labels"),)


@dataclass(frozen=True)
class Finetune:
    """How a teacher is made: `training` arguments, and the folder that keeps it, named by everything it depends on.
    A seed among the arguments makes one teacher for all seeds of the run; else every seed has its own. `frozen` among
    them names the modules that stay as they are."""

    training: Mapping[str, Any]
    keep: Path
    key: str | Callable[[], str]

    @property
    def stage(self) -> Stage:
        own = {name: value for name, value in self.training.items() if name != "frozen"}
        return Stage(LABELS_ONLY, own, self.training.get("frozen", ()))

    def seed(self, seed: int) -> int:
        return int(self.training.get("seed", seed))

    def folder(self, seed: int) -> Path:
        key = self.key if isinstance(self.key, str) else self.key()
        return self.keep / f"{key}-seed{self.seed(seed)}"
