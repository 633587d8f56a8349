"""The loss of an evaluation does not depend on how its rows are cut into batches and processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from drive import _server as server
from drive import free_port
from tiny_lab import make_teacher
from transformers import BertConfig, BertForTokenClassification

from textkd import Match
from textkd.training.arguments import make_arguments
from textkd.training.trainer import DistilTrainer
from textkd.training.wiring import wire

ROWS = 11  # no multiple of a batch


def rows(kind: str) -> list[dict[str, Any]]:
    draw = torch.Generator().manual_seed(0)
    made = []
    for number in range(ROWS):
        length = 2 + number % 5
        ids = torch.randint(5, 20, (length,), generator=draw).tolist()
        labels = number % 2 if kind == "rows" else [-100, *[i % 2 for i in ids[1:]]]
        made.append({"input_ids": ids, "labels": labels, "length": length})
    return made


def collate(some: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in some)

    def padded(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (longest - len(values))

    labels = [row["labels"] if isinstance(row["labels"], int) else padded(row["labels"], -100) for row in some]
    ids = torch.tensor([padded(row["input_ids"], 0) for row in some])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor(labels)}


def tagger() -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=21, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
        max_position_embeddings=40, initializer_range=0.5,
    )  # fmt: skip
    return BertForTokenClassification(config).eval()


def loss_of(kind: str, batch: int, folder: Path) -> float:
    model = make_teacher(2) if kind == "rows" else tagger()
    data = rows(kind)
    wiring = wire({"student": model}, {}, [Match("labels")], collate(data[:4]), "cross_entropy")
    arguments = make_arguments(
        {"per_device_eval_batch_size": batch, "train_sampling_strategy": "random", "report_to": []}, folder
    )
    trainer = DistilTrainer(model, arguments, eval_dataset=data, data_collator=collate, wiring=wiring)
    try:
        return float(trainer.evaluate()["eval_loss"])
    finally:
        wiring.close()


def process(rank: int, port: str, folder: Path, kind: str, batch: int) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    (folder / f"{rank}.txt").write_text(repr(loss_of(kind, batch, folder)))


@pytest.mark.parametrize("kind", ["rows", "tokens"])
def test_batches_do_not_change_it(kind: str, tmp_path: Path) -> None:
    whole = loss_of(kind, ROWS, tmp_path)
    assert [loss_of(kind, size, tmp_path) for size in (1, 4)] == pytest.approx([whole] * 2, abs=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "batch"), [("rows", 2), ("tokens", 2), ("tokens", 4), ("rows", 16)])
def test_processes_do_not_change_it(kind: str, batch: int, tmp_path: Path) -> None:
    """11 rows fill two batches of 4 on two processes but for 5 rows; Trainer's own mean would count those twice."""
    port = free_port()
    both = [server().Process(target=process, args=(rank, port, tmp_path, kind, batch)) for rank in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(100)
    assert [one.exitcode for one in both] == [0, 0]
    found = [float((tmp_path / f"{rank}.txt").read_text()) for rank in range(2)]
    assert found == pytest.approx([loss_of(kind, ROWS, tmp_path)] * 2, abs=1e-6)
