"""Encoded rows in memory (a block) and in a file (a shard): the same columns, memory-mapped where they are a file.

A shard is a safetensors file. `keys` are its rows; an entry (one tap in one format) has its parts as one flat tensor
each, where row i stands between starts[i] and starts[i + 1], and a CRC-32 per row over all its parts. The metadata has
a hash over keys, starts and CRCs, so opening a shard reads no data, and a row is checked when it is first read.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import uuid
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from textkd.errors import fail
from textkd.models.files import refused, room_for, sync
from textkd.models.regular import regular
from textkd.teachers.cache.keys import VERSION, Keys, as_numpy
from textkd.teachers.cache.layout import Layout


class DamagedError(Exception):
    """A shard does not hold what was written into it."""

    def __init__(self, block: Block, why: str) -> None:
        self.block, self.why = block, why
        super().__init__(f"{block.path}: {why}")


@dataclass
class Part:
    """Rows of one part of an entry, flat."""

    data: Tensor
    starts: NDArray[np.int64]

    def row(self, i: int) -> NDArray[Any]:
        """The numbers of row i; of bfloat16 its bits, in int16."""
        return self._array[self.starts[i] : self.starts[i + 1]]

    @cached_property
    def _array(self) -> NDArray[Any]:
        return as_numpy(self.data)


@dataclass
class Entry:
    """One tap in one format, of all rows of a block."""

    layout: Layout
    parts: dict[str, Part]
    checks: NDArray[np.uint32]
    is_checked: NDArray[np.bool_]

    @classmethod
    def of(cls, layout: Layout, samples: Sequence[Mapping[str, Tensor]]) -> Entry:
        """samples: the parts of each row; none where nothing of it counts."""
        parts = {}
        kinds = {name: part.dtype for sample in samples for name, part in sample.items()}
        for name, dtype in kinds.items():
            pieces = [sample.get(name, torch.empty(0, dtype=dtype)) for sample in samples]
            starts = np.cumsum([0, *(piece.numel() for piece in pieces)], dtype=np.int64)
            parts[name] = Part(torch.cat(pieces), starts)
        made = cls(layout, parts, np.zeros(len(samples), np.uint32), np.ones(len(samples), np.bool_))
        made.checks[:] = [made.checksum(i) for i in range(len(samples))]
        return made

    def row(self, i: int) -> dict[str, NDArray[Any]]:
        return {name: part.row(i) for name, part in self.parts.items()}

    def checksum(self, i: int) -> int:
        value = 0
        for part in self.row(i).values():
            value = zlib.crc32(part.data, value)
        return value

    def bytes(self, i: int) -> int:
        """What row i takes on disk."""
        own = sum(int(p.starts[i + 1] - p.starts[i]) * p.data.element_size() for p in self.parts.values())
        return own + 8 * len(self.parts) + 4


@dataclass
class Block:
    """Rows by `keys`; every entry has all of them. path: of a shard."""

    keys: Keys
    entries: dict[str, Entry]
    path: Path | None = None
    bytes: int = field(default=0)

    def __post_init__(self) -> None:
        if not self.bytes:
            rows = range(len(self.keys))
            self.bytes = sum(entry.bytes(i) for entry in self.entries.values() for i in rows) + self.keys.nbytes

    def read(self, name: str, i: int) -> dict[str, NDArray[Any]]:
        """The parts of row i, checked if it is the first time. Raises `DamagedError`."""
        entry = self.entries[name]
        self._refuse_cut()
        if not entry.is_checked[i]:
            if entry.checksum(i) != entry.checks[i]:
                raise DamagedError(self, f"row {i} of {name} is not what was written")
            entry.is_checked[i] = True
        return entry.row(i)

    def _refuse_cut(self) -> None:
        """Reading what is mapped behind the end of a file kills the process. A file that is gone is still mapped."""
        if self.path is None:
            return
        try:
            size = os.stat(self.path).st_size
        except OSError:
            return
        if size != self.bytes:
            raise DamagedError(self, f"it has {size:,} bytes of {self.bytes:,}")


def join(blocks: Sequence[Block]) -> Block:
    """Blocks with the same entries as one."""
    if len(blocks) == 1:
        return blocks[0]
    entries = {}
    for name, first in blocks[0].entries.items():
        parts, own = {}, [block.entries[name] for block in blocks]
        for part in first.parts:
            pieces = [entry.parts[part] for entry in own]
            sizes = np.concatenate([np.diff(piece.starts) for piece in pieces])
            starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            parts[part] = Part(torch.cat([piece.data for piece in pieces]), starts)
        entries[name] = Entry(first.layout, parts, np.concatenate([entry.checks for entry in own]),
                              np.concatenate([entry.is_checked for entry in own]))  # fmt: skip
    return Block(np.concatenate([block.keys for block in blocks]), entries)


def write(folder: Path, block: Block) -> Path:
    """`block` as a new shard, which appears whole or not at all. Raises `TextkdError` where the disk takes no more."""
    tensors = {"keys": torch.from_numpy(block.keys.astype(np.uint64).view(np.int64).copy())}
    about = []
    for number, (name, entry) in enumerate(block.entries.items()):
        kinds = {part: str(column.data.dtype) for part, column in entry.parts.items()}
        about.append({"name": name, "layout": asdict(entry.layout), "parts": list(entry.parts), "types": kinds})
        tensors[f"{number}.checks"] = torch.from_numpy(entry.checks.astype(np.int64))
        for part, column in entry.parts.items():
            tensors[f"{number}.{part}"] = column.data.contiguous()
            tensors[f"{number}.{part}.starts"] = torch.from_numpy(column.starts)
    head = json.dumps(about)
    metadata = {"format": f"textkd {VERSION}", "entries": head, "hash": _hash(head, tensors)}
    name = f"shard-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.safetensors"
    part_file, path = folder / f".{name}.part", folder / name
    try:
        save_file(tensors, part_file, metadata=metadata)
        sync(part_file)
        os.replace(part_file, path)
        sync(folder)
    except BaseException as error:
        with suppress(OSError):
            part_file.unlink(missing_ok=True)
        if not isinstance(error, Exception) or not (found := refused(error, folder)):
            raise
        fix = f"{room_for(found)} and run the same command again: the shards that are written are kept"
        raise fail(f"save {path}", found, fix=fix) from error
    return path


def open_shard(path: Path) -> Block:
    """The shard of a file; its data stays on disk until it is read. Raises `DamagedError`, `FileNotFoundError`."""
    lost = Block(np.zeros((0, 2), np.uint64), {}, path)
    try:
        file: Any = safe_open(regular(path), "pt")
        metadata = file.metadata() or {}
        head = metadata["entries"]
        entries, heads = dict[str, Entry](), {"keys": _index_in(file, "keys")}
        for number, about in enumerate(json.loads(head)):
            entries[about["name"]] = _entry(file, number, about, heads)
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise DamagedError(lost, f"{error}" or type(error).__name__) from error
    if metadata.get("hash") != _hash(head, heads):
        raise DamagedError(lost, "its index is not what was written")
    return Block(heads["keys"].numpy().copy().view(np.uint64), entries, path, path.stat().st_size)


def _entry(file: Any, number: int, about: Mapping[str, Any], heads: dict[str, Tensor]) -> Entry:
    parts, kinds = {}, about.get("types", {})  # early shards have none
    for part in about["parts"]:
        starts = heads[f"{number}.{part}.starts"] = _index_in(file, f"{number}.{part}.starts")
        data = file.get_tensor(f"{number}.{part}")
        if str(data.dtype) != kinds.get(part, str(data.dtype)) or data.shape != (int(starts[-1]),):
            raise ValueError(
                f"its header says {data.dtype} {list(data.shape)} of {part}, which is not what was written"
            )
        parts[part] = Part(data, starts.numpy().copy())
    checks = heads[f"{number}.checks"] = _index_in(file, f"{number}.checks")
    layout = Layout(tuple(about["layout"]["dims"]), about["layout"]["of"])
    return Entry(layout, parts, checks.numpy().astype(np.uint32), np.zeros(len(checks), np.bool_))


def _index_in(file: Any, name: str) -> Tensor:
    tensor: Tensor = file.get_tensor(name)
    if tensor.dtype != torch.int64 or not tensor.numel():
        raise ValueError(f"its header says {tensor.dtype} of {name}, which is not what was written")
    return tensor


def _hash(head: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(head.encode(), digest_size=16)
    for name in sorted(tensors):
        if name == "keys" or name.endswith((".checks", ".starts")):
            digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
