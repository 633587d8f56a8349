"""Losses that know of padding, on two processes, each of which pads its rows to the longest of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cohort_lab
import pytest
import torch
from cohort_lab import net, parts, state
from drive import _server as server
from drive import differences, free_port
from torch import Tensor

from textkd import Match

PAIRS = [Match("attention", layers={1: 2, 2: 4}, options={"pairs": "all"}),
         Match("scores", layers={1: 2}, options={"pairs": "all"}, weight=0.1)]  # fmt: skip
# what it costs hangs on how far a row is padded: on two processes it is the same where all are padded alike
KEYS = [Match("scores", layers={1: 2, 2: 4}, loss="cross_entropy", options={"keys": "all"})]
whole = cohort_lab.collate  # every row is padded to 8


def cut(some: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Rows padded to the longest of them."""
    batch = whole(some)
    longest = int(batch["attention_mask"].sum(1).max())
    return {name: column if name == "labels" else column[:, :longest] for name, column in batch.items()}


def process(rank: int, world: int, port: str, folder: Path, matches: list[Match], collate: Any) -> None:
    if world > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    cohort_lab.collate = collate
    student = net(1)
    size = cohort_lab.BATCH // world
    done = cohort_lab.train(
        folder, {"student": student}, matches, {"teacher": net(7, layers=4)}, optim="sgd", learning_rate=0.05,
        per_device_train_batch_size=size,
    )  # fmt: skip
    if rank == 0:
        torch.save({"parts": parts(done), "student": state(student)}, folder / "end.pt")


def ended(folder: Path, matches: list[Match], collate: Any, *worlds: int) -> list[Any]:
    """How trainings on so many processes ended; they run beside each other."""
    every = []
    for world in worlds:
        (place := folder / str(world)).mkdir()
        start, port = partial(server().Process, target=process), free_port()
        every += [start(args=(rank, world, port, place, matches, collate)) for rank in range(world)]
    for one in every:
        one.start()
    for one in every:
        one.join(100)
    assert [one.exitcode for one in every] == [0] * len(every)
    return [torch.load(folder / str(world) / "end.pt") for world in worlds]


@pytest.mark.long
@pytest.mark.parametrize(("matches", "collate"), [(PAIRS, cut), (KEYS, whole)], ids=["pairs", "keys"])
def test_two_processes_are_one(matches: list[Match], collate: Any, tmp_path: Path) -> None:
    one, two = ended(tmp_path, matches, collate, 1, 2)
    assert len(one["parts"]) == len(two["parts"]) == 5
    for step, other in zip(one["parts"], two["parts"], strict=True):
        assert differences(step, other) < 1e-5
    assert differences(one["student"], two["student"]) < 1e-5
    assert differences(one["student"], state(net(1))) > 1e-3
