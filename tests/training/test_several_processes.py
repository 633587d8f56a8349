"""Two processes over gloo train several models as one process does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cohort_lab
import pytest
import torch
from cohort_lab import mutual, net, parts, state
from drive import _server as server
from drive import differences, free_port

from textkd import Match

PAIR = ("peer_1", "peer_2")
CASES: dict[str, dict[str, Any]] = {
    "together": {"update": "together"},
    "in_turn": {"update": "in_turn", "optim": "adamw_torch", "learning_rate": 1e-3},  # its momentum would tell
    "averaged": {"update": "together", "average": 0.9, "gradient_accumulation_steps": 2},
}
# a projection between peers of two widths, and one to a teacher; maps of attention; a loss with weights of its own
MATCHES = [*mutual(PAIR), Match("hidden:1", from_="peer_2"), Match("hidden", from_="teacher", weight=0.5),
           Match(student="peer_2/attention:1", teacher="peer_1/attention:1"),
           Match("hidden:2", from_="peer_1", loss="vid")]  # fmt: skip


def process(rank: int, world: int, port: str, folder: Path, case: str) -> None:
    """One of `world` processes that train the same models; the first says how it ended."""
    if world > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    models = {"peer_1": net(1), "peer_2": net(2, hidden=24)}
    given = {"optim": "sgd", "learning_rate": 0.05, **CASES[case]}
    size = cohort_lab.BATCH // world // given.get("gradient_accumulation_steps", 1)
    done = cohort_lab.train(
        folder / "work", models, MATCHES, {"teacher": net(7, layers=4)}, **given, per_device_train_batch_size=size,
        per_device_eval_batch_size=12 // world, eval_strategy="epoch", save_strategy="steps", save_steps=2,
    )  # fmt: skip
    if rank == 0:
        measured = [row["eval"] for row in done.history if "eval" in row]
        end = {"parts": parts(done), "eval": measured, **{name: state(model) for name, model in models.items()}}
        torch.save(end, folder / "end.pt")


def ended(folder: Path, world: int, case: str) -> Any:
    folder.mkdir(parents=True)
    port = free_port()
    ranks = [server().Process(target=process, args=(rank, world, port, folder, case)) for rank in range(world)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(100)
    assert [rank.exitcode for rank in ranks] == [0] * world
    return torch.load(folder / "end.pt")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(case: str, tmp_path: Path) -> None:
    one, two = (ended(tmp_path / str(world), world, case) for world in (1, 2))
    assert len(one["parts"]) == len(two["parts"]) == 5
    assert {name for step in one["parts"] for name in step} == {"loss", *EXPECTED}
    for step, other in zip(one["parts"], two["parts"], strict=True):
        assert differences(step, other) < 1e-5
    assert differences(*(end["eval"][0] for end in (one, two))) < 1e-5
    for name in PAIR:
        assert differences(one[name], two[name]) < 1e-5
        assert differences(one[name], state(net(1) if name == "peer_1" else net(2, hidden=24))) > 1e-3


EXPECTED = [
    "peer_1/labels/cross_entropy", "peer_2/labels/cross_entropy", "peer_1/logits<-peer_2/kl",
    "peer_2/logits<-peer_1/kl", "peer_1/hidden:1<-peer_2/hidden:1/mse", "peer_1/hidden:1<-teacher/hidden:2/mse",
    "peer_1/hidden:2<-teacher/hidden:4/mse", "peer_2/hidden:1<-teacher/hidden:2/mse",
    "peer_2/hidden:2<-teacher/hidden:4/mse", "peer_2/attention:1<-peer_1/attention:1/mse",
    "peer_2/hidden:2<-peer_1/hidden:2/vid",
]  # fmt: skip
