"""A teacher that is first trained on the task itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from textkd.models.files import at_home
from textkd.objective.match import Match
from textkd.objective.match_checks import needs_teacher
from textkd.objective.tap_pairs import written_ends
from textkd.training.stages import Stage

LABELS_ONLY = (Match("labels"),)


def without_teacher(matches: Sequence[Match], fused: bool = False) -> list[Match]:
    """What teaches where there is no teacher: the matches that need none and the labels, which are added where none of
    them reads them. fused: the labels keep no logits."""
    own = [match for match in matches if not needs_teacher(match)]
    labels = [replace(match, fused=fused) for match in LABELS_ONLY]
    others = [match for match in own if not _reads_labels(match)]
    if not others:
        return labels
    return own if len(others) < len(own) else [*labels, *own]


def _reads_labels(match: Match) -> bool:
    return written_ends(match)[0][0].address.family == "labels"


@dataclass(frozen=True)
class Finetune:
    """How a teacher is made: `training` arguments, and the folder that keeps it, named by everything it depends on.
    A seed among the arguments makes one teacher for all seeds of the run; else every seed has its own. given: its
    stages, whose matches need no teacher; without them the labels alone teach. frozen: modules that stay as they are
    in all of them. has_stages: the recipe writes `given` as stages, not as matches."""

    training: Mapping[str, Any]
    keep: Path
    key: str | Callable[[], str]
    given: Sequence[Stage] = ()
    frozen: Sequence[str] = ()
    has_stages: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", at_home(self.keep))

    @property
    def stages(self) -> list[Stage]:
        """What it goes through; `training` comes on top of the arguments that are textkd's own."""
        return [replace(one, frozen=[*self.frozen, *one.frozen]) for one in self.given or (Stage(LABELS_ONLY),)]

    def seed(self, seed: int) -> int:
        return int(self.training.get("seed", seed))

    def folder(self, seed: int) -> Path:
        key = self.key if isinstance(self.key, str) else self.key()
        return self.keep / f"{key}-seed{self.seed(seed)}"
