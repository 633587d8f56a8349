"""Taps that a thread puts together while the training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from torch import Tensor


class Later(Mapping[str, Tensor]):
    """Taps by name; whoever reads the first of them waits for all, and gets what went wrong.

    names: of the taps. wait: gives them; it is called once, by the thread that reads.
    """

    def __init__(self, names: Iterable[str], wait: Callable[[], Mapping[str, Tensor]]) -> None:
        self._names, self._wait = tuple(names), wait

    def __getitem__(self, name: str) -> Tensor:
        return self._taps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    @cached_property
    def _taps(self) -> Mapping[str, Tensor]:
        return self._wait()
