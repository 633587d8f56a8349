"""How far a teacher that computes in int8 is from the same teacher in float32, measured before it teaches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from textkd.models.forward import own_columns
from textkd.models.taps import Address
from textkd.models.taps.masks import mask_for
from textkd.teachers import LiveTeacher
from textkd.teachers.frozen import FrozenModel
from textkd.teachers.int8 import Int8Teacher
from textkd.teachers.live import INT8

log = logging.getLogger("textkd")
ROWS = 64
FEW = 0.95  # of the answers the same: less is told as a warning


def agreements(
    frozen_models: Mapping[str, FrozenModel], reads: Mapping[str, list[str]], data: Any, batch_size: int
) -> list[str]:
    """A sentence for the report on each teacher that computes in int8.

    Args:
        frozen_models: the models that are only read, by name.
        reads: the addresses that are read of each.
        data: the task's, of whose training rows 64 are answered in both ways.
        batch_size: rows that are answered together, as in the training.
    """
    return [_told(name, one, reads[name], data, batch_size) for name, one in frozen_models.items()
            if one.live.runtime == INT8 and reads.get(name)]  # fmt: skip


def _told(name: str, one: FrozenModel, addresses: list[str], data: Any, batch_size: int) -> str:
    exact, small = LiveTeacher(one.model, addresses), Int8Teacher(one.model, addresses)
    pairs: dict[str, list[tuple[Tensor, ...]]] = {address: [] for address in addresses}
    try:
        for batch in _batches(name, data, batch_size):
            whole, rounded = exact.taps(batch), small.taps(batch)
            for address in addresses:
                both = (whole[address], rounded[address])
                pairs[address].append(tuple(_counting(address, tap, batch).double() for tap in both))
    finally:
        exact.close()
    joined = {address: tuple(map(torch.cat, zip(*taps, strict=True))) for address, taps in pairs.items()}
    told = [_of_logits(*taps) if Address.parse(address).kind == "logits" else f"{address} {_relative(*taps):.1%}"
            for address, taps in joined.items()]  # fmt: skip
    rows = min(ROWS, len(data.train))
    how = f"{name} computed in int8 (onnxruntime {version('onnxruntime')})"
    line = f"{how}; on {rows} training rows its taps differ from those in float32 by {', '.join(told)}"
    log.info(line)
    if "logits" in joined and _same(*joined["logits"]) < FEW:
        log.warning("%s: in int8 it answers more than 1 of 20 rows otherwise; runtime: torch computes in float32", name)
    return line


def _batches(name: str, data: Any, size: int) -> Iterator[Mapping[str, Tensor]]:
    count = min(ROWS, len(data.train))
    places = [i * len(data.train) // count for i in range(count)]
    for start in range(0, count, size):
        yield own_columns(data.collator([data.train[i] for i in places[start : start + size]]), name)


def _counting(address: str, tap: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The numbers of a tap that count, one after the other, so that batches of any length can be joined; of logits
    [N, C]."""
    one = Address.parse(address)
    mask = mask_for(one, batch, tap)
    if mask is not None and one.family in ("attention", "scores"):  # [B, A, T, T]
        pairs = mask if mask.dim() == 3 else mask[:, :, None] & mask[:, None, :]
        return tap.movedim(1, -1)[pairs].flatten()
    if mask is not None:
        tap = (tap.movedim(1, 2) if one.family == "heads" else tap)[mask]
    return tap.flatten(0, -2) if one.kind == "logits" else tap.flatten()


def _of_logits(whole: Tensor, rounded: Tensor) -> str:
    same = f"{_same(whole, rounded):.1%} the same answers, " if whole.shape[-1] > 1 else ""
    most = f"at most {(whole - rounded).abs().max():.2g} of {whole.abs().max():.2g}"
    return f"logits {_relative(whole, rounded):.1%} ({same}{most})"


def _same(whole: Tensor, rounded: Tensor) -> float:
    if whole.shape[-1] == 1:
        return 1.0
    return float((whole.argmax(-1) == rounded.argmax(-1)).double().mean())


def _relative(whole: Tensor, rounded: Tensor) -> float:
    """The norm of the difference over the norm."""
    return float((whole - rounded).norm() / whole.norm().clamp(min=1e-12))
