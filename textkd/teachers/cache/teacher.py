"""A teacher whose taps come from disk where they are there, and are computed and kept where they are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from textkd.errors import fail
from textkd.models.forward import forward_inputs
from textkd.models.taps import anatomy, mask_for
from textkd.models.taps.address import GRADIENT_KINDS
from textkd.teachers.cache.codecs import codec_for
from textkd.teachers.cache.keys import Keys, identity, row_keys
from textkd.teachers.cache.later import Later
from textkd.teachers.cache.layout import Layout, runs
from textkd.teachers.cache.options import CacheOptions
from textkd.teachers.cache.shards import Block, DamagedError, Entry
from textkd.teachers.cache.store import Place, Store
from textkd.teachers.live import LiveTeacher, Teacher


class CachedTeacher:
    """Taps of `model` from disk; rows that are not there are computed by a live teacher and kept.

    What comes back is always what is kept, whether it was there or not. Rows are known by their own inputs, without
    padding: any order, batches, epochs, processes and other students find what is there. Positions that do not count
    are 0.

    Args:
        model: the teacher.
        addresses: the taps to read.
        folder: of the cache; the shards lie in `folder`/<identity of the teacher>.
        options: how taps are kept.
        autocast: the dtype to compute in; it belongs to the identity. A word in its place stands for how `live`
            computes.
        exact: addresses that are kept in float32 whatever the options say.
        live: makes the teacher that computes given addresses; None: a `LiveTeacher`.

    Raises:
        TextkdError: an address that the model does not have, or a tap that is no row's own (``labels``).

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = BertModel(BertConfig(num_hidden_layers=2, **sizes))
        >>> batch = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 6]])}
        >>> with TemporaryDirectory() as folder:
        ...     teacher = CachedTeacher(model, ["hidden:2"], folder)
        ...     shapes = [teacher.taps(batch)["hidden:2"].shape for epoch in range(2)]
        ...     teacher.close()
        >>> shapes, teacher.computed
        ([torch.Size([2, 3, 8]), torch.Size([2, 3, 8])], 2)
    """

    def __init__(
        self,
        model: nn.Module,
        addresses: Sequence[str],
        folder: str | Path,
        options: CacheOptions | None = None,
        autocast: torch.dtype | str | None = None,
        exact: Sequence[str] = (),
        live: Callable[[Sequence[str]], Teacher] | None = None,
    ) -> None:
        self.model, self.autocast, self.options = model, autocast, options or CacheOptions()
        parts = anatomy(model)
        self.addresses = {str(address): address for address in map(parts.resolve, addresses)}
        if "labels" in self.addresses:
            raise fail("labels of a teacher from a cache", "a loss is of a batch, not of a row", fix="leave it out")
        self._codecs = {name: codec_for(address, self.options, exact) for name, address in self.addresses.items()}
        self._names = {name: f"{name}|{codec.name}" for name, codec in self._codecs.items()}
        limit = None if self.options.max_gb is None else self.options.max_gb * 1e9
        self.store = Store(Path(folder) / identity(model, autocast), limit)
        self.computed = 0  # rows, by this process
        self.expected: int | None = None  # how many more may be missing, once the cache is filled (damaged shards)
        self._make_live = live or (lambda names: LiveTeacher(model, names, _dtype(autocast)))
        self._lives: dict[tuple[str, ...], Teacher] = {}
        self._accepted = forward_inputs(model)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="textkd cache")

    def taps(self, batch: Mapping[str, Tensor], example_id: Tensor | None = None) -> Mapping[str, Tensor]:
        """The asked taps of `batch` by address, float32, on the device of the batch; as `LiveTeacher.taps`.

        What is missing is computed at once. The taps are then put together: on a CPU here and now, because whatever a
        second thread did there would be taken from the student's forward; beside an accelerator by a thread while the
        forward runs, until the first of them is read.

        Args:
            batch: the columns, [B, ...].
            example_id: not looked at: rows are known by their inputs.

        Raises:
            TextkdError: rows differ in every epoch, or their shapes in one batch.
        """
        device = next(iter(batch.values())).device
        on_cpu = {name: column.cpu() for name, column in batch.items()}  # once: hashes and masks are made there
        places = self._complete(on_cpu, self._keys(on_cpu))
        if not _has_idle_cores(device):
            return self._read_sound(on_cpu, lambda: self._read(on_cpu, places))
        reading = self._reader.submit(self._read, on_cpu, places, device.type == "cuda")

        def wait() -> Mapping[str, Tensor]:
            found = self._read_sound(on_cpu, reading.result)
            return {name: tap.to(device, non_blocking=True) for name, tap in found.items()}

        return Later(self.addresses, wait)

    def _read_sound(
        self, batch: Mapping[str, Tensor], read: Callable[[], Mapping[str, Tensor]]
    ) -> Mapping[str, Tensor]:
        """What `read` gives; where a shard of it is damaged, what is computed anew. Shards are dropped one by one."""
        while True:
            try:
                return read()
            except DamagedError as error:
                self.store.drop(error)
                read = partial(self._read, batch, self._complete(batch, self._keys(batch)))

    def fill(self, batch: Mapping[str, Tensor]) -> dict[str, list[Place]]:
        """Computes and keeps what is missing of a batch.

        Args:
            batch: the columns, [B, ...], on the CPU.

        Returns:
            Where each row of each tap is.
        """
        return self._complete(batch, self._keys(batch))

    def entry(self, name: str, place: Place) -> Entry:
        """The entry of a tap that stands at `place`."""
        return place[0].entries[self._names[name]]

    def numbers(self, name: str, batch: Mapping[str, Tensor]) -> int:
        """How many numbers a tap has where the positions of a batch count; after `fill`.

        Args:
            name: the address of the tap.
            batch: the one that was filled.
        """
        place = self.store.find(self._names[name], self._keys(batch)[name])[0]
        assert place is not None
        layout = self.entry(name, place).layout
        rows = len(next(iter(batch.values())))
        valid = layout.valid(self.addresses[name], batch, rows)
        return sum(map(layout.elements, [1] * rows if valid is None else valid.sum(1).tolist()))

    def close(self) -> None:
        """Writes what is only in memory and takes the hooks off the model."""
        try:
            self.store.flush()
        finally:
            while self._lives:
                self._lives.popitem()[1].close()

    def _keys(self, batch: Mapping[str, Tensor]) -> dict[str, Keys]:
        """By tap: gradients are keyed with the labels that they are gradients of."""
        plain: dict[bool, Keys] = {}
        keys = {}
        for name, address in self.addresses.items():
            labelled = address.kind in GRADIENT_KINDS
            if labelled not in plain:
                plain[labelled] = row_keys(batch, self._accepted, labelled)
            keys[name] = plain[labelled]
        return keys

    def _complete(self, batch: Mapping[str, Tensor], keys: Mapping[str, Keys]) -> dict[str, list[Place]]:
        found = {name: self.store.find(self._names[name], keys[name]) for name in self.addresses}
        if not _lacking(found):
            return found  # type: ignore[return-value]
        self.store.refresh()
        found = {name: self.store.find(self._names[name], keys[name]) for name in self.addresses}
        lacking = _lacking(found)
        if lacking:
            rows = sorted({i for name in lacking for i, place in enumerate(found[name]) if place is None})
            rows = list({b"".join(keys[name][i].tobytes() for name in lacking): i for i in rows}.values())
            self._compute(batch, lacking, keys, rows)
            found = {name: self.store.find(self._names[name], keys[name]) for name in self.addresses}
            if _lacking(found):
                raise RuntimeError(f"rows that were just kept are not there: {', '.join(_lacking(found))}")
        return found  # type: ignore[return-value]

    def _compute(
        self, batch: Mapping[str, Tensor], names: Sequence[str], keys: Mapping[str, Keys], rows: list[int]
    ) -> None:
        some = next(iter(batch.values()))
        if len(rows) < len(some):
            chosen = torch.tensor(rows, device=some.device)
            batch = {name: column[chosen.to(column.device)] for name, column in batch.items()}
        device = next(self.model.parameters()).device
        batch = {name: column.to(device) for name, column in batch.items()}
        if tuple(names) not in self._lives:
            self._lives[tuple(names)] = self._make_live(names)
        taps = self._lives[tuple(names)].taps(batch, batch.get("example_id"))
        self.computed += len(rows)
        if self.expected is not None:
            self.expected -= len(rows)
            if self.expected < 0:
                found = "more rows are missing than there are: they are other ones in every epoch"
                raise fail("a teacher cache of these rows", found, fix="rows that stay as they are, or cache: false")
        alike: dict[int, list[str]] = {}
        for name in names:
            alike.setdefault(id(keys[name]), []).append(name)
        for group in alike.values():
            own = keys[group[0]][rows]
            self.store.add(Block(own, {self._names[n]: self._encode(n, batch, taps[n], own) for n in group}))

    def _encode(self, name: str, batch: Mapping[str, Tensor], tap: Tensor, keys: Keys) -> Entry:
        address, codec = self.addresses[name], self._codecs[name]
        layout = Layout.find(address, batch, tap)
        valid, mask = layout.valid(address, batch, len(tap)), mask_for(address, batch, tap)
        tap = tap.detach()
        if mask is not None and mask.dim() == 3:  # pairs that a causal mask hides
            tap = tap.masked_fill(~mask[:, None], 0)
        tap = codec.prepare(tap)
        samples = list(tap)
        if valid is not None:
            wheres = [at if isinstance(at, slice) else at.to(tap.device) for at in runs(valid)]
            samples = [layout.whole(sample, at) for sample, at in zip(samples, wheres, strict=True)]
        seeds = keys[:, 0].tolist()
        parts = [codec.encode(sample, seed) if sample.numel() else {}
                 for sample, seed in zip(samples, seeds, strict=True)]  # fmt: skip
        return Entry.of(layout, parts)

    def _read(
        self, batch: Mapping[str, Tensor], places: Mapping[str, Sequence[Place]], pinned: bool = False
    ) -> dict[str, Tensor]:
        """The taps of `batch` from where their rows are. All on one core: it may run in a thread of its own."""
        return {name: self._read_tap(name, batch, places[name], pinned) for name in self.addresses}

    def _read_tap(self, name: str, batch: Mapping[str, Tensor], places: Sequence[Place], pinned: bool) -> Tensor:
        """[B, ...] with the stored rows, 0 where nothing counts."""
        address, entry, decode = self.addresses[name], self._names[name], self._codecs[name].decode
        layout = places[0][0].entries[entry].layout
        valid = layout.valid(address, batch, len(places))
        length = 0 if valid is None else valid.shape[1]
        made = torch.empty(len(places), *layout.sized(length), pin_memory=pinned)
        out = made.numpy()
        out.fill(0)
        wheres = [slice(None)] * len(places) if valid is None else runs(valid)
        for sample, at, (block, i) in zip(out, wheres, places, strict=True):
            parts = block.read(entry, i)
            _check_unit(name, layout, block.entries[entry].layout)
            if isinstance(at, slice):
                whole = sample[layout.at(at)]
                if whole.size:
                    decode(parts, whole)
            elif len(at):
                part = np.empty(layout.sized(len(at)), np.float32)
                decode(parts, part)
                layout.put(sample, at, part)
        return made


def _dtype(autocast: torch.dtype | str | None) -> torch.dtype | None:
    return None if isinstance(autocast, str) else autocast


def _has_idle_cores(device: torch.device) -> bool:
    """Whether the student's forward on `device` leaves the CPU to others."""
    return device.type != "cpu"


def _lacking(found: Mapping[str, Sequence[Place | None]]) -> list[str]:
    return [name for name, places in found.items() if any(place is None for place in places)]


def _check_unit(name: str, one: Layout, other: Layout) -> None:
    if one is not other and one.dims != other.dims:
        found = f"rows of the shapes {one.dims} and {other.dims} in one batch"
        raise fail(f"cached {name}", found, fix="batches with an attention_mask, which tells a row's own length")
