"""A damaged checkpoint is skipped for an earlier one, and named; a damaged finished stage is told with a fix."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import textkd as command
from drive import differences, losses, textkd, weights
from graph_lab import short
from safetensors.torch import save_file
from second_proofs import but_few
from test_resume import after_the_first_stage, kill_at, same_end, staged
from tiny_lab import Tiny

from textkd.config import build
from textkd.errors import TextkdError
from textkd.experiment.finished import lost
from textkd.models.files import write_json
from textkd.models.sums import FILE, damage, write_sums
from textkd.training.checkpoints import last_checkpoint, read_stage, remove_incomplete, resuming


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def change(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "cut weights": ("model.safetensors", cut), "changed weights": ("model.safetensors", change),
    "empty optimizer": ("optimizer.pt", empty), "empty scheduler": ("scheduler.pt", empty),
    "no random state": ("rng_state.pth", Path.unlink), "empty sums": (FILE, empty),
}  # fmt: skip


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    save_file({"w": torch.zeros(64)}, made / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"w": torch.zeros(8)}, made / name)
    write_sums(made)
    (made / "trainer_state.json").write_text('{"global_step": 1}')
    return made


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_checkpoint_is_skipped_and_named(what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = (checkpoint(tmp_path, step) for step in (9, 10))
    assert last_checkpoint(tmp_path) == str(bad)
    name, spoil = DAMAGES[what]
    spoil(bad / name)
    assert last_checkpoint(tmp_path) == str(good)
    with caplog.at_level(logging.WARNING, "textkd"):
        remove_incomplete(tmp_path)
    assert f"{bad} is damaged ({name}" in caplog.text
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint-9"]


@pytest.mark.parametrize("what", ["cut weights", "empty optimizer"])
def test_a_checkpoint_of_before_is_looked_at_as_far_as_it_tells(what: str, tmp_path: Path) -> None:
    made = checkpoint(tmp_path, 1)
    (made / FILE).unlink()
    assert damage(made) == ""
    name, spoil = DAMAGES[what]
    spoil(made / name)
    assert damage(made) == f"{name} is damaged"


def test_code_in_a_checkpoint_is_not_run_and_told(tmp_path: Path) -> None:
    """Its sums may have been written anew by whoever put the code there."""

    class Code:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    file = checkpoint(tmp_path, 1) / "optimizer.pt"
    torch.save(Code(), file)
    with pytest.raises(TextkdError, match=r"checkpoint-1[\s\S]*never run"), resuming(str(file.parent)):
        torch.load(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"steps": 1}'])
def test_a_damaged_record_of_a_stage_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "stage.json").write_text(content)
    with pytest.raises(TextkdError, match=r"stage.json (.|\n)*delete .*: the same command trains this stage again"):
        read_stage(tmp_path / "final", ["steps", "history"])
    assert read_stage(tmp_path / "none", []) is None


def test_json_is_on_the_disk_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order, replace = list[str](), os.replace

    def synced(number: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *names: order.append("name") or replace(*names))
    write_json(tmp_path / "a.json", {"a": 1})
    assert order == ["file", "name", "folder"]


def in_the_second_epoch() -> None:
    from textkd.training.trainer import DistilTrainer

    kill_at(DistilTrainer, "compute_loss", 14)


@pytest.mark.slow
@pytest.mark.parametrize("what", but_few(DAMAGES, "cut weights"))
def test_a_run_goes_on_from_the_last_good_one(what: str, tiny: Tiny) -> None:
    values = tiny.recipe | {"control": False}
    values["training"] |= {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 5, "save_total_limit": 3}
    file = tiny.write(values)
    assert textkd("run", file, folder=tiny.folder).code == 0
    run = tiny.folder / "run"
    shutil.move(run, tiny.folder / "unbroken")
    assert textkd("run", file, folder=tiny.folder, patch=in_the_second_epoch).code == -9
    name, spoil = DAMAGES[what]
    spoil(run / "seed-1" / "student.work" / "stage-1" / "checkpoint-10" / name)
    again = textkd("run", file, folder=tiny.folder)
    assert again.code == 0, again.said
    assert "checkpoint-10 is damaged" in " ".join(again.said.split())
    other = tiny.folder / "unbroken"
    assert differences(losses(run), losses(other)) == 0
    assert differences(weights(run / "seed-1" / "student"), weights(other / "seed-1" / "student")) == 0


@pytest.mark.slow
def test_a_damaged_stage_is_told_and_trained_again(tiny: Tiny) -> None:
    file = tiny.write(staged(tiny))
    assert textkd("run", file, folder=tiny.folder).code == 0
    run = tiny.folder / "run"
    shutil.move(run, tiny.folder / "unbroken")
    assert textkd("run", file, folder=tiny.folder, patch=after_the_first_stage).code == -9
    stage = run / "seed-1" / "student.work" / "stage-1"
    cut(stage / "final" / "model.safetensors")
    told = textkd("run", file, folder=tiny.folder)
    assert told.code == 2, told.said
    assert "model.safetensors has" in " ".join(told.said.split())
    shutil.rmtree(stage)
    assert textkd("run", file, folder=tiny.folder).code == 0
    same_end(run, tiny.folder / "unbroken")


@pytest.mark.long
def test_a_finished_run_says_what_has_become_of_its_models(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tiny.write(short(tiny, control=False)))
    assert command(capsys, monkeypatch, "run", file)[0] == 0
    student = tiny.folder / "run" / "seed-1" / "student"
    assert lost(student) == ""
    node = build.from_recipe(file).runner
    assert [node.state(one) for one in node.nodes] == ["done"]
    change(student / "model.safetensors")
    _, said = command(capsys, monkeypatch, "plan", file, "--no-time")
    assert f"damaged: {student}: its weights are other ones than those that were measured" in said
    for spoil, due in (
        (lambda: None, "its weights are other ones"), ((student / "textkd.json").unlink, "it is not there any more"),
    ):  # fmt: skip
        spoil()
        code, said = command(capsys, monkeypatch, "run", file)
        assert code == 0
        assert due in said
        assert f"delete {student} and results.json in the run folder" in said
    shutil.rmtree(student)
    (tiny.folder / "run" / "results.json").unlink()
    assert command(capsys, monkeypatch, "run", file)[0] == 0
    assert lost(student) == ""
