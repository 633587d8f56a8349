"""The models that a training only reads, and their taps by whole names."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from textkd.models.forward import own_columns
from textkd.teachers.cache import CacheOptions
from textkd.teachers.live import LiveOptions, Teacher


@dataclass(frozen=True)
class FrozenModel:
    """A model that a training only reads, and how.

    Args:
        model: in eval mode while it is read.
        cache: its taps of the training rows are computed once and read from disk.
        live: the precision and the device that it runs in and on.
        pieces: the ids of those of its pieces that the learner knows, in the learner's order: of its logits over the
            vocabulary these are compared; None: all.
    """

    model: nn.Module
    cache: CacheOptions | None = None
    live: LiveOptions = field(default_factory=LiveOptions)
    pieces: Sequence[int] | None = None


class Named(Mapping[str, Tensor]):
    """Taps of one model by their whole names, as ``big/hidden:2``; each is read from `taps` when it is asked for.
    pieces: as of `FrozenModel`."""

    def __init__(self, model: str, taps: Mapping[str, Tensor], pieces: Sequence[int] | None = None) -> None:
        self._prefix, self._taps, self._pieces = f"{model}/", taps, pieces

    def __getitem__(self, name: str) -> Tensor:
        if not name.startswith(self._prefix):
            raise KeyError(name)
        tap = self._taps[name.removeprefix(self._prefix)]
        if self._pieces is None or name != f"{self._prefix}logits":
            return tap
        return tap.index_select(-1, torch.tensor(self._pieces, device=tap.device))

    def __iter__(self) -> Iterator[str]:
        return (f"{self._prefix}{name}" for name in self._taps)

    def __len__(self) -> int:
        return len(self._taps)


class FrozenModels:
    """The teachers of a training by name: live or from a cache, each with the columns of a batch that are its own."""

    def __init__(self, teachers: Mapping[str, Teacher], pieces: Mapping[str, Sequence[int] | None] | None = None):
        self.teachers, self.pieces = dict(teachers), dict(pieces or {})

    def taps(self, batch: Mapping[str, Tensor], example_id: Tensor | None = None) -> Mapping[str, Tensor]:
        """The asked taps of a batch by their whole names, without gradient, on the device of the batch."""
        found = [Named(name, teacher.taps(own_columns(batch, name), example_id), self.pieces.get(name))
                 for name, teacher in self.teachers.items()]  # fmt: skip
        return found[0] if len(found) == 1 else ChainMap(*found)  # type: ignore[arg-type]

    def close(self) -> None:
        """Takes all hooks off."""
        for teacher in self.teachers.values():
            teacher.close()
