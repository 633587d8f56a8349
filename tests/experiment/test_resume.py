"""A run that is killed at any moment and started again ends like one that was never killed."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drive import differences, losses, textkd, weights
from tiny_lab import Tiny


def kill_at(owner: Any, name: str, call: int, after: bool = False) -> None:
    """Kills the process before (or after) the `call`-th call of a function."""
    original, count = getattr(owner, name), [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if count[0] == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def in_the_middle_of_an_epoch() -> None:
    from textkd.training.trainer import DistilTrainer

    kill_at(DistilTrainer, "compute_loss", 13)


def after_the_weights_of_a_checkpoint() -> None:
    from transformers import Trainer

    kill_at(Trainer, "_save_optimizer_and_scheduler", 2)


def in_the_middle_of_the_optimizer() -> None:
    import torch

    def torn(_: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if str(path).endswith("optimizer.pt") and "checkpoint-" in str(path):
            Path(path).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = torn


def in_the_middle_of_the_state() -> None:
    from transformers import TrainerState

    def torn(_: Any, path: str) -> None:
        Path(path).write_text('{"global_step": ')
        os.kill(os.getpid(), signal.SIGKILL)

    TrainerState.save_to_json = torn


def in_the_first_evaluation() -> None:
    from textkd.training.trainer import DistilTrainer

    kill_at(DistilTrainer, "evaluate", 1, after=True)


def between_final_and_its_rename() -> None:
    kill_at(os, "replace", 4)  # run.json, then the record of the first training's first stage


def after_the_first_stage() -> None:
    from textkd.training import stages

    kill_at(stages._Run, "_load", 1)


def after_the_last_step() -> None:
    from textkd.training.stages import _Run

    kill_at(_Run, "_publish", 2)


def while_the_student_is_published() -> None:
    from textkd.experiment.finished import Finished

    kill_at(Finished, "publish", 1, after=True)


def in_the_control() -> None:
    from textkd.experiment.finished import Finished

    seen = []

    def after_the_student(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        seen.append(1)
        if len(seen) == 1:
            in_the_middle_of_an_epoch()

    original = Finished.publish
    Finished.publish = after_the_student


def while_results_are_gathered() -> None:
    from textkd import report

    kill_at(report, "save", 1)


MOMENTS = [
    in_the_middle_of_an_epoch,
    after_the_weights_of_a_checkpoint,
    in_the_middle_of_the_optimizer,
    in_the_middle_of_the_state,
    in_the_first_evaluation,
    between_final_and_its_rename,
    after_the_first_stage,
    after_the_last_step,
    while_the_student_is_published,
    in_the_control,
    while_results_are_gathered,
]


def staged(tiny: Tiny, **training: Any) -> dict[str, Any]:
    """Two stages over a narrower student; both train the same pair's projection; dropout is on."""
    recipe = tiny.recipe
    recipe["student"] = {"config": {"num_hidden_layers": 2, "hidden_size": 12, "intermediate_size": 24}}
    hidden = {"tap": "hidden", "loss": "mse", "layers": "uniform"}
    del recipe["matches"]
    recipe["training"].update({"logging_steps": 3, **training})
    first, second = [hidden, {"tap": "attention", "layers": {1: 2}}], [{"tap": "labels"}, {"tap": "logits"}, hidden]
    recipe["stages"] = [
        {"matches": first, "frozen": ["bert.embeddings"], "training": {"num_train_epochs": 1}},
        {"matches": second, "training": {"num_train_epochs": 1.5}},
    ]
    return recipe


@pytest.fixture(scope="module")
def unbroken(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The finished run of a save strategy."""

    @functools.cache
    def run(strategy: str) -> Path:
        tiny = Tiny(tmp_path_factory.mktemp(strategy))
        link(tiny, tiny_source)
        ended = textkd("run", tiny.write(staged(tiny, **SAVE[strategy])), folder=tiny.folder)
        assert ended.code == 0, ended.said
        return tiny.folder / "run"

    return run


SAVE: dict[str, dict[str, Any]] = {
    "epoch": {"save_strategy": "epoch"},
    "steps": {"save_strategy": "steps", "save_steps": 5, "average": 0.9, "dropout": 0.2},
}


def link(tiny: Tiny, source: Path) -> None:
    for name in ("teacher", "data"):
        (tiny.folder / name).symlink_to(source / name)


LONG = {("epoch", in_the_middle_of_an_epoch)}
CASES = [
    pytest.param(strategy, moment, id=f"{strategy}-{moment.__name__}",
                 marks=pytest.mark.long if (strategy, moment) in LONG else pytest.mark.slow)
    for strategy in SAVE for moment in MOMENTS
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "moment"), CASES)
def test_a_killed_run_ends_like_an_unbroken_one(
    moment: Any, strategy: str, tiny: Tiny, unbroken: Callable[[str], Path]
) -> None:
    file = tiny.write(staged(tiny, **SAVE[strategy]))
    killed = textkd("run", file, folder=tiny.folder, patch=moment)
    assert killed.code == -signal.SIGKILL, killed.said
    again = textkd("run", file, folder=tiny.folder)
    assert again.code == 0, again.said
    same_end(tiny.folder / "run", unbroken(strategy))
    told = [line for line in again.said.splitlines() if "starts from random" in line or "projection" in line]
    assert len(told) == len(set(told)) == 3  # the student, and two widths that differ: said once, however often built


def same_end(run: Path, other: Path) -> None:
    for role in ("student", "control"):
        assert differences(losses(run, role), losses(other, role)) == 0, (losses(run, role), losses(other, role))
        assert differences(weights(run / "seed-1" / role), weights(other / "seed-1" / role)) == 0
    assert sorted(p.name for p in (run / "seed-1").iterdir()) == ["control", "student"]
