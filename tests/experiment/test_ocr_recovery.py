"""A reader's training that is killed ends like an unbroken one, and its best checkpoint is the one that comes back."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from drive import _server as server
from drive import differences, losses, textkd, weights
from ocr_lab import Reading, data, make_reader, read_history, train

from textkd import Match, TextkdError
from textkd.models.students import shrink

MATCHES = [
    Match("labels"),
    Match("logits", loss="kl", temperature=2.0),
    Match("encoder.hidden", layers="uniform"),
    Match("decoder.cross_attention", layers={1: 2}, loss="kl"),
]
STEPS = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": 1, "dropout": 0.1}


def kill_in_the_middle_of_an_epoch() -> None:
    """In the second of two epochs of five steps; the last checkpoint is in the middle of it, too."""
    from textkd.training.trainer import DistilTrainer

    original, calls = DistilTrainer.training_step, []

    def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args, **kwargs)

    DistilTrainer.training_step = killed


def process(folder: Path, kind: str, kill: bool, arguments: dict[str, Any]) -> None:
    """Trains with augmentation, and writes down how it went and what each step saw."""
    torch.set_num_threads(1)
    if kill:
        kill_in_the_middle_of_an_epoch()
    teacher = make_reader(kind)
    student = shrink(teacher, encoder_layers=2, decoder_layers=1)
    done = train(folder, student, teacher, MATCHES, data(augment=1.0), **arguments)
    torch.save({"history": read_history(done), "weights": student.state_dict()}, folder / "end.pt")


def ended(folder: Path, kind: str, arguments: dict[str, Any], kill: bool = False) -> int:
    one = server().Process(target=process, args=(folder, kind, kill, arguments))
    one.start()
    one.join(100)
    return int(one.exitcode)


CASES = [
    pytest.param("vit", {**STEPS, "train_sampling_strategy": "random"}, id="vit"),
    pytest.param("deit", STEPS, id="deit", marks=pytest.mark.slow),
    pytest.param("vit", {**STEPS, "average": 0.9}, id="average", marks=pytest.mark.slow),
]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_a_killed_training_ends_like_an_unbroken_one(kind: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    assert ended(tmp_path / "straight", kind, arguments) == 0
    assert ended(tmp_path / "killed", kind, arguments, kill=True) == -signal.SIGKILL
    assert [p.name for p in (tmp_path / "killed" / "stage-1").glob("checkpoint-*")] == ["checkpoint-6"]
    assert ended(tmp_path / "killed", kind, arguments) == 0
    one, other = (torch.load(tmp_path / name / "end.pt") for name in ("straight", "killed"))
    assert max(step for step, _ in one["history"]) == 10
    assert differences(one["history"], other["history"]) == 0
    assert differences(one["weights"], other["weights"]) == 0


@pytest.mark.slow
def test_workers_see_the_same_images(tmp_path: Path) -> None:
    teacher, ends = make_reader(), []
    for workers in (0, 2):
        student = shrink(teacher, encoder_layers=2, decoder_layers=1)
        arguments = {"dataloader_num_workers": workers}
        done = train(tmp_path / str(workers), student, teacher, MATCHES, data(augment=1.0), **arguments)
        ends.append((read_history(done), student.state_dict()))
    assert differences(ends[0][0], ends[1][0]) == 0
    assert differences(ends[0][1], ends[1][1]) == 0


BOTH = [pytest.param("vit", marks=pytest.mark.slow), "deit"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "deit"])
def test_the_best_checkpoint_comes_back(kind: str, tmp_path: Path) -> None:
    """Best by the greatest loss, so that it is the first epoch's: the end is that of a training of one epoch."""
    teacher, lines, ends = make_reader(kind), data(), []
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True}
    for epochs, more in ((1, {}), (2, {**best, "save_total_limit": 2})):
        student = shrink(teacher, encoder_layers=2, decoder_layers=1)
        arguments = {"num_train_epochs": epochs, "lr_scheduler_type": "constant", **more}
        done = train(tmp_path / str(epochs), student, teacher, MATCHES, lines, **arguments)
        ends.append((read_history(done), student.state_dict()))
    assert ends[1][0][5, "eval/loss"] > ends[1][0][10, "eval/loss"]
    assert differences(ends[0][1], ends[1][1]) == 0


@pytest.mark.long
@pytest.mark.parametrize("kind", BOTH)
def test_the_lowest_error_rate_is_the_best(kind: str, tmp_path: Path) -> None:
    """As the task's metric says, of which less is better."""
    teacher, lines = make_reader(kind), data()
    student = shrink(teacher, encoder_layers=2, decoder_layers=1)
    seen: list[tuple[float, Any]] = []

    def judge(ids: Any, labels: Any) -> dict[str, float]:
        rates = [0.5, 0.2, 0.9]
        seen.append((rates[len(seen)], {n: v.clone() for n, v in student.state_dict().items()}))
        return {"cer": seen[-1][0], "wer": 1.0, "exact": 0.0}

    arguments = {"num_train_epochs": 3, "load_best_model_at_end": True}
    train(tmp_path, student, teacher, [Match("labels")], replace(lines, compute_metrics=judge), **arguments)
    assert [rate for rate, _ in seen] == [0.5, 0.2, 0.9]
    end = student.state_dict()
    assert [differences(state, end) == 0 for _, state in seen] == [False, True, False]


@pytest.mark.slow
def test_a_checkpoint_of_another_student_is_refused(tmp_path: Path) -> None:
    """transformers would load what fits, and go on."""
    teacher, lines = make_reader(), data()
    assert ended(tmp_path, "vit", STEPS, kill=True) == -signal.SIGKILL
    student = shrink(teacher, encoder_layers=1, decoder_layers=1)
    with pytest.raises(TextkdError, match="do not fit the model"):
        train(tmp_path, student, teacher, [Match("labels")], lines, **STEPS)


def kill_the_student() -> None:
    from textkd.experiment.run import Runner

    original = Runner._train

    def wrapped(self: Any, node: Any, *places: Any) -> Any:
        if node.name == "student":
            kill_in_the_middle_of_an_epoch()
        return original(self, node, *places)

    Runner._train = wrapped


@pytest.mark.slow
def test_a_killed_run_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    """Through the command line, with a teacher that the run makes first."""
    for name in ("straight", "killed"):
        (tmp_path / name).mkdir()
        made = Reading(tmp_path / name)
        recipe = made.recipe
        recipe["training"] |= STEPS
        file = made.write(recipe)
        if name == "killed":
            assert textkd("run", file, folder=made.folder, patch=kill_the_student).code == -signal.SIGKILL
        again = textkd("run", file, folder=made.folder)
        assert again.code == 0, again.said
    one, other = tmp_path / "straight" / "run", tmp_path / "killed" / "run"
    for role in ("teacher", "student", "control"):
        assert differences(losses(one, role), losses(other, role)) == 0
    for role in ("student", "control"):
        assert differences(weights(one / "seed-1" / role), weights(other / "seed-1" / role)) == 0
