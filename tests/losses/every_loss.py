"""One call of every registered loss on small taps, for tests that hold for all of them. The registry is the source."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from textkd.losses import Loss, names
from textkd.losses.registry import FAMILIES, get
from textkd.models.conventions import IGNORED
from textkd.objective.projections import Grid

B, T, WIDTH, HEADS, CLASSES, ROWS = 6, 5, 8, 4, 3, 20
LENGTHS = torch.tensor([5, 3, 4, 2, 5, 3])
MASK = torch.arange(T) < LENGTHS[:, None]
ENTRIES = [get(name, family) for family in FAMILIES for name in names(family)]
# options that the small taps here need, and the numbers of taps that a loss of many takes
REQUIRED: dict[str, dict[str, Any]] = {"mgskd_tokens": {"heads": 4}, "mgskd_samples": {"heads": 4}}
TAPS = {"layers": 3, "kinds": 3}


@dataclass
class Given:
    """One call of a loss: taps of both sides (lists where it takes many), its mask and what else it needs."""

    student: Any
    teacher: Any
    mask: Tensor | None
    needs: dict[str, Any] = field(default_factory=dict)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Given:
        both = [[change(x) for x in s] if isinstance(s, list) else change(s) for s in (self.student, self.teacher)]
        return Given(*both, self.mask, self.needs)


def taps_of(side: Any) -> list[Tensor]:
    return side if isinstance(side, list) else [side]


def given(entry: Loss, masked: bool = True) -> Given:
    torch.manual_seed(len(entry.name))
    count = TAPS[entry.arity] if entry.arity else 1
    sides = [[_tap(entry.family, masked) for _ in range(count)] for _ in range(2)]
    mask = MASK if masked and sides[0][0].dim() > 2 else None
    if entry.family == "labels":
        mask = MASK if masked and entry.targets == "ids" else None
        sides = [[_tap("logits", mask is not None)] for _ in range(2)]
    by_row = mask is None or entry.family == "hidden"
    labels = (torch.arange(B) if by_row else torch.arange(B * T).view(B, T)) % CLASSES
    if entry.targets != "ids":
        sides, mask = [[_tap("logits", False)] for _ in range(2)], None
        labels = torch.rand(B, CLASSES)
    if entry.family == "labels":
        return Given(sides[0][0], labels, mask)
    needs = {"marks": torch.tensor([[0.2, 0.8]] * B), "labels": labels, "example_id": torch.arange(B), "progress": 0.5}
    if not entry.needs_teacher:
        sides = [sides[0], [torch.tensor([[1, 2]] * B)]]
    if not entry.needs_teacher and entry.family == "attention":  # its queries are the labels
        needs["marks"], sides[1] = torch.rand(B, T), [torch.where(MASK, 1, IGNORED)]
    student, teacher = (side if entry.arity else side[0] for side in sides)
    return Given(student, teacher, mask, {name: needs[name] for name in entry.needs})


def _tap(family: str, masked: bool) -> Tensor:
    if family == "logits":
        return 2 * torch.randn(B, T, CLASSES) if masked else 2 * torch.randn(B, CLASSES)
    if family == "hidden":
        return torch.randn(B, T, WIDTH) if masked else torch.randn(B, WIDTH)
    if family == "heads":
        return torch.randn(B, HEADS, T, WIDTH // HEADS)
    scores = torch.randn(B, HEADS, T, T)
    if family == "scores":
        return scores
    return scores.masked_fill(~MASK[:, None, None, :], -1e4).softmax(-1) if masked else scores.softmax(-1)


def called(entry: Loss, at: Given, module: Any = None, options: Mapping[str, Any] | None = None) -> Tensor:
    """The loss of this call; of a loss with state, of a copy of `module`, which has its options already."""
    torch.manual_seed(1)
    if entry.state:
        return copy.deepcopy(module)(at.student, at.teacher, mask=at.mask, **at.needs)
    return entry(at.student, at.teacher, at.mask, **chosen(entry, options), **at.needs)


def built(entry: Loss, at: Given, options: Mapping[str, Any] | None = None) -> Any:
    if not entry.state:
        return None
    shapes: list[Any] = [[tuple(x.shape) for x in side] if isinstance(side, list) else tuple(side.shape)
                         for side in (at.student, at.teacher)]  # fmt: skip
    torch.manual_seed(2)
    grid = Grid(1, T) if entry.family == "attention" else None
    return entry.build(*shapes, chosen(entry, options), ROWS, vocabulary=CLASSES, grid=grid)


def chosen(entry: Loss, options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**REQUIRED.get(entry.name, {}), **(options or {})}


def key(entry: Loss) -> str:
    return f"{entry.family}-{entry.name}"
