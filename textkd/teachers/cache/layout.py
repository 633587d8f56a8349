"""Which axes of a tap run over positions: how one sample's valid part is cut out of a batch and put back into one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textkd.errors import fail
from textkd.models.taps import Address, mask_for
from textkd.models.taps.address import CROSS_KINDS, HEAD_KINDS

OF_TARGETS = ("labels", "decoder_attention_mask", "decoder_input_ids")
OF_TOKENS = ("attention_mask", "input_ids")


@dataclass(frozen=True)
class Layout:
    """dims: the axes of one sample, -1 where an axis runs over positions: (-1, 384) hidden states, (12, -1, -1)
    attention, (12, -1, 32) queries, (2,) the logits of a row. of: the column of a batch that has these positions."""

    dims: tuple[int, ...]
    of: str = ""

    @classmethod
    def find(cls, address: Address, batch: Mapping[str, Tensor], tap: Tensor) -> Layout:
        """The layout of `tap` [B, ...] that `batch` gave. Raises `TextkdError` where its positions cannot be told."""
        mask = mask_for(address, batch, tap)
        dims = list(tap.shape[1:])
        if mask is None:
            return cls(tuple(dims))
        places = _places(address, tap)
        for place in places:
            dims[place] = -1
        length = tap.shape[1 + places[0]]
        names = [*OF_TARGETS, *OF_TOKENS] if _is_of_targets(address, batch) else OF_TOKENS
        for name in names:
            if name in batch and batch[name].dim() == 2 and batch[name].shape[1] == length:
                return cls(tuple(dims), name)
        raise fail(f"a cache of {address}", f"none of {', '.join(names)} has its {length} positions",
                   fix="leave this tap out of the cache: teacher.cache: false")  # fmt: skip

    def valid(self, address: Address, batch: Mapping[str, Tensor], rows: int) -> NDArray[np.bool_] | None:
        """[B, T] positions of `batch` that are kept; None where the tap has no such axis."""
        if not self.of:
            return None
        length = batch[self.of].shape[1]
        shaped = torch.zeros(1, device=batch[self.of].device).expand(rows, *self.sized(length))
        mask = mask_for(address, batch, shaped)
        if mask is None:
            raise fail(f"cached {address}", "a batch that does not tell which positions count", fix=f"give {self.of}")
        if mask.dim() == 3:
            pairs = address.kind not in CROSS_KINDS
            mask = mask.diagonal(dim1=1, dim2=2) if pairs else mask[..., 0]
        kept: NDArray[np.bool_] = mask.cpu().numpy()
        return kept

    def sized(self, positions: int) -> tuple[int, ...]:
        """The shape of a sample with so many positions."""
        return tuple(positions if size == -1 else size for size in self.dims)

    def elements(self, positions: int) -> int:
        return math.prod(self.sized(positions))

    def at(self, positions: slice) -> tuple[slice, ...]:
        """The index of one sample's tap (without the batch axis) that leaves its part at these positions."""
        return tuple(positions if size == -1 else slice(None) for size in self.dims)

    def whole(self, sample: Tensor, positions: slice | Tensor) -> Tensor:
        """The part of one sample's tap at these positions; a view for a slice."""
        if isinstance(positions, slice):
            return sample[self.at(positions)]
        for axis, size in enumerate(self.dims):
            sample = sample.index_select(axis, positions) if size == -1 else sample
        return sample

    def put(self, sample: NDArray[Any], positions: Tensor, part: NDArray[Any]) -> None:
        """The inverse of `whole` for positions that are no slice."""
        axes, at = [axis for axis, size in enumerate(self.dims) if size == -1], positions.numpy()
        if len(axes) == 1:
            sample[(slice(None),) * axes[0] + (at,)] = part
        else:
            sample[:, at[:, None], at] = part


def runs(valid: NDArray[np.bool_]) -> list[slice | Tensor]:
    """Where each row's valid positions are: a slice from the start where nothing is left out."""
    counts = valid.sum(1)
    whole = (valid == (np.arange(valid.shape[1]) < counts[:, None])).all(1)
    return [slice(0, int(count)) if plain else torch.from_numpy(np.flatnonzero(row))
            for count, plain, row in zip(counts.tolist(), whole.tolist(), valid, strict=True)]  # fmt: skip


def _places(address: Address, tap: Tensor) -> tuple[int, ...]:
    if address.family in ("attention", "scores"):
        return (1,) if address.kind in CROSS_KINDS else (1, 2)
    return (1,) if address.family == "heads" else (0,)


def _is_of_targets(address: Address, batch: Mapping[str, Tensor]) -> bool:
    if address.kind == "module":
        return "pixel_values" in batch and address.path.partition(".")[0] == "decoder"
    return address.kind in HEAD_KINDS or address.side == "decoder" or address.causal
