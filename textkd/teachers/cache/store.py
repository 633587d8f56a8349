"""The folder of one teacher's taps: every shard in it, and what is not written yet. Several processes may use it."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textkd.errors import fail
from textkd.teachers.cache.keys import Keys
from textkd.teachers.cache.shards import Block, DamagedError, join, open_shard, write

SHARD_BYTES = 2**26
Place = tuple[Block, int]
"""Where a row is: a block, and its number in it."""
log = logging.getLogger("textkd")


@dataclass
class _Table:
    """Keys of one entry, sorted by their first half, and where each is."""

    keys: Keys
    blocks: NDArray[np.int32]
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, name: str, blocks: list[Block]) -> _Table:
        owners = [number for number, block in enumerate(blocks) if name in block.entries]
        counts = [len(blocks[number].keys) for number in owners]
        keys = np.concatenate([blocks[number].keys for number in owners] or [np.zeros((0, 2), np.uint64)])
        order = np.argsort(keys[:, 0], kind="stable")
        rows = np.concatenate([np.arange(count, dtype=np.int32) for count in counts] or [np.zeros(0, np.int32)])
        return cls(keys[order], np.repeat(np.asarray(owners, np.int32), counts)[order], rows[order])

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """The place of each key in this table, -1 where it is not there."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        places = np.searchsorted(self.keys[:, 0], keys[:, 0]).clip(max=len(self.keys) - 1)
        return np.where((self.keys[places] == keys).all(1), places, -1)


class Store:
    """Rows of a folder by entry and key; new ones are kept in memory until they fill a shard, or `flush`; all of them
    while `held`. limit: bytes that the folder may take."""

    def __init__(self, folder: Path, limit: float | None = None) -> None:
        self.folder, self.limit = folder, limit
        self.held = False
        self._blocks: list[Block] = []
        self._tables: dict[str, _Table] = {}
        self._pending: list[Block] = []
        self._recent: dict[tuple[str, bytes], Place] = {}
        self._waiting, self._stamp = 0, -1
        self._remove_abandoned()
        self.refresh()

    @property
    def shards(self) -> list[Path]:
        return [block.path for block in self._blocks if block.path is not None]

    @property
    def written(self) -> int:
        """Bytes on disk."""
        return sum(block.bytes for block in self._blocks)

    def find(self, name: str, keys: Keys) -> list[Place | None]:
        """Where the entry `name` of each key is; None: nowhere."""
        if name not in self._tables:
            self._tables[name] = _Table.of(name, self._blocks)
        table = self._tables[name]
        found: list[Place | None] = []
        for i, place in enumerate(table.find(keys).tolist()):
            if place >= 0:
                found.append((self._blocks[table.blocks[place]], int(table.rows[place])))
            else:
                found.append(self._recent.get((name, keys[i].tobytes())) if self._recent else None)
        return found

    def add(self, block: Block) -> None:
        """Rows to keep; a shard is written once there are enough."""
        self._pending.append(block)
        keys = [key.tobytes() for key in block.keys]
        self._recent.update({(name, key): (block, i) for name in block.entries for i, key in enumerate(keys)})
        self._waiting += block.bytes
        if self._waiting >= SHARD_BYTES and not self.held:
            self.flush()

    def flush(self) -> None:
        """Writes what is only in memory. Raises `TextkdError` on a full disk; nothing that is written is lost then."""
        if not self._pending:
            return
        if self.limit is not None and self.written + self._waiting > self.limit:
            found = f"{(self.written + self._waiting) / 1e9:.3g} GB with what is to be written"
            fix = "a larger max_gb, fewer taps, or cache: false"
            raise fail(f"a teacher cache of max_gb {self.limit / 1e9:g} in {self.folder}", found, fix=fix)
        self.folder.mkdir(parents=True, exist_ok=True)
        alike: dict[str, list[Block]] = {}
        for block in self._pending:
            alike.setdefault(_shape(block), []).append(block)
        for blocks in alike.values():
            self._blocks.append(open_shard(write(self.folder, join(blocks))))
        self.discard()

    def refresh(self) -> None:
        """Looks for shards that other processes have written since; a damaged one is named, deleted and forgotten."""
        try:
            stamp = os.stat(self.folder).st_mtime_ns
        except FileNotFoundError:
            return
        if stamp == self._stamp:
            return
        known, self._stamp = set(self.shards), stamp
        for path in sorted(self.folder.glob("shard-*.safetensors")):
            if path not in known:
                try:
                    self._blocks.append(open_shard(path))
                except FileNotFoundError:
                    continue
                except DamagedError as error:
                    _delete(error)
        self._tables.clear()

    def drop(self, error: DamagedError) -> None:
        """Names a damaged shard, deletes and forgets it: its rows are missing from now on."""
        _delete(error)
        self._blocks = [block for block in self._blocks if block is not error.block]
        self._tables.clear()

    def discard(self) -> None:
        """Forgets what is only in memory."""
        self._pending.clear()
        self._waiting = 0
        self._recent.clear()
        self._tables.clear()

    def _remove_abandoned(self) -> None:
        """Unfinished files of processes of this machine that are no more."""
        host = socket.gethostname()
        for path in self.folder.glob(f".shard-{host}-*.part"):
            pid = path.name.removeprefix(f".shard-{host}-").split("-")[0]
            if pid.isdigit() and not _is_alive(int(pid)):
                path.unlink(missing_ok=True)


def _shape(block: Block) -> str:
    """What blocks must have in common to be one shard."""
    return repr([(name, entry.layout, list(entry.parts)) for name, entry in block.entries.items()])


def _delete(error: DamagedError) -> None:
    log.warning("teacher cache: %s is damaged (%s); it is deleted and its rows are computed anew", error.block.path,
                error.why)  # fmt: skip
    if error.block.path is not None:
        error.block.path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
