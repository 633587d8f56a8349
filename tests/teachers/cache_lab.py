"""Rows, a collator and a tiny teacher to fill caches with; run as a program it fills one, for tests of several
processes: ``cache_lab.py FOLDER ROWS BATCHES_BEFORE_DEATH PROCESSES``."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from tiny_lab import make_teacher
from torch import Tensor

from textkd.teachers.cache import CachedTeacher, CacheOptions, build, estimate
from textkd.teachers.cache.keys import as_numpy

TAPS = ["logits", "hidden:2", "attention:1"]


class Rows:
    """Sentences of 3 to 14 tokens, all different."""

    column_names = ("input_ids", "length")

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.ids = [torch.randint(5, 20, (3 + i % 12,), generator=generator).tolist() for i in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | str) -> Any:
        return [len(ids) for ids in self.ids] if key == "length" else {"input_ids": self.ids[int(key)]}


def collate(rows: list[Any]) -> dict[str, Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def teacher(folder: Path, names: list[str] = TAPS, **options: Any) -> CachedTeacher:
    return CachedTeacher(make_teacher(), names, folder, CacheOptions(**options))


def read(parts: dict[str, Tensor]) -> dict[str, Any]:
    """Encoded parts as a shard gives them."""
    return {name: as_numpy(part) for name, part in parts.items()}


def fill(folder: Path, rows: Rows, **options: Any) -> CachedTeacher:
    made = teacher(folder, **options)
    build(made, rows, collate, 4, estimate(made, rows, collate))
    return made


def batches(rows: Rows) -> list[dict[str, Tensor]]:
    return [collate([rows[i] for i in range(start, min(start + 5, len(rows)))]) for start in range(0, len(rows), 5)]


def main() -> None:
    folder, rows, deadly, peers = Path(sys.argv[1]), Rows(int(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
    made = teacher(folder)
    size, fill_batch = estimate(made, rows, collate), made.fill
    seen = 0

    def fill_slowly(batch: dict[str, Tensor]) -> Any:
        nonlocal seen
        seen += 1
        if seen == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        return fill_batch(batch)

    made.fill = fill_slowly  # type: ignore[method-assign]
    (folder / f"ready-{os.getpid()}").touch()
    while len(list(folder.glob("ready-*"))) < peers:
        time.sleep(0.01)
    build(made, rows, collate, 4, size)
    print(made.computed)


if __name__ == "__main__":
    main()
