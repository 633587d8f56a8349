"""How the part of one sample becomes numbers on disk, and the sample again: dense in three precisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textkd.errors import fail
from textkd.models.taps import Address
from textkd.teachers.cache.options import CacheOptions
from textkd.teachers.cache.sparse import Drawn, Likeliest

Parts = Mapping[str, NDArray[Any]]
FEW_CLASSES = 1024
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}  # int8: before it is scaled


class Codec(Protocol):
    """name: entries of another name are never read for it."""

    @property
    def name(self) -> str: ...
    def prepare(self, tap: Tensor) -> Tensor:
        """What is done to a whole batch at once."""
        ...

    def encode(self, sample: Tensor, key: int) -> dict[str, Tensor]:
        """Flat tensors on the CPU, one per part. key: 64 bits of the sample's key, for what is drawn."""
        ...

    def decode(self, parts: Parts, out: NDArray[Any]) -> None:
        """Writes the sample into `out`, float32 of its shape; any strides. parts: as `as_numpy` gives them. By numpy,
        on one thread: torch shares such small copies between threads, and each waits for a second core, which may be
        busy."""
        ...


class Dense:
    """Every number. precision None: bf16, or float32 where the last axis has up to 1,024 classes.

    Relative error of bf16: up to 2^-8. int8 keeps one scale, the largest magnitude, per vector of the last axis (a
    token's hidden state, a query's row of attention, a position's logits): absolute error up to 1/254 of it.
    """

    def __init__(self, precision: str | None = None) -> None:
        self.precision = precision
        self.name = precision or "dense"

    def prepare(self, tap: Tensor) -> Tensor:
        precision = self.precision or ("float32" if tap.shape[-1] <= FEW_CLASSES else "bf16")
        return tap.to(DTYPES[precision]).cpu()

    def encode(self, sample: Tensor, key: int) -> dict[str, Tensor]:
        if self.precision != "int8":
            return {"data": sample.reshape(-1)}
        scale = sample.abs().amax(-1, keepdim=True) / 127
        if not bool(scale.isfinite().all()):
            raise fail("a tap in int8", "values that are not finite", fix="precision: bf16")
        data = (sample / scale.clamp(min=torch.finfo(torch.float32).tiny)).round().to(torch.int8)
        return {"data": data.reshape(-1), "scale": scale.reshape(-1)}

    def decode(self, parts: Parts, out: NDArray[Any]) -> None:
        data = parts["data"].reshape(out.shape)
        if data.dtype == np.int16:  # the bits of a bfloat16 are the upper half of a float32's
            np.left_shift(data.view(np.uint16), 16, out=out.view(np.uint32), dtype=np.uint32)
        elif "scale" in parts:
            np.multiply(data, parts["scale"].reshape(*out.shape[:-1], 1), out=out)
        else:
            np.copyto(out, data)


def codec_for(address: Address, options: CacheOptions, exact: Sequence[str] = ()) -> Codec:
    """How taps of `address` are kept. exact: addresses that are kept in float32 whatever the options say."""
    if str(address) in exact:
        return Dense("float32")
    if address.kind != "logits":
        return Dense(options.precision or "bf16")
    if isinstance(options.logits, str):
        return Dense(options.precision)
    if "samples" in options.logits:
        return Drawn(options.logits["samples"], float(options.temperature))
    return Likeliest(options.logits.get("top_k"), options.logits.get("mass"), float(options.temperature))
