"""Training: what runs, what stays as it was, and how it stops."""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from drive import differences, losses, textkd, weights
from places import ROOT
from tiny_lab import Tiny, make_teacher, make_tokenizer, sentences, write_tsv
from transformers import AutoModelForSequenceClassification

from textkd import Distiller, Match, Stage, TextkdError, shrink, tasks
from textkd.config import build
from textkd.models.taps.checkpointing import HOOKS_ARE_RECOMPUTED
from textkd.teachers import LiveTeacher
from textkd.training import arguments, cpu_attention
from textkd.training.arguments import make_arguments
from textkd.training.trainer import DistilTrainer

pytestmark = pytest.mark.compat


def quick(tiny: Tiny, **training: Any) -> dict[str, Any]:
    values = tiny.recipe
    values["control"] = False
    values["training"].update({"max_steps": 6, **training})
    return values


@pytest.mark.long
def test_evaluation_never_runs_the_teacher(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = LiveTeacher.taps
    monkeypatch.setattr(LiveTeacher, "taps", lambda self, *a, **k: calls.append(1) or original(self, *a, **k))
    build.from_recipe(tiny.write(quick(tiny, eval_strategy="steps", eval_steps=2))).run()
    assert len(calls) - 6 in (2, 3)  # six steps; the rest tried taps and losses before training


def test_teacher_and_frozen_parts_stay_bitwise(tiny: Tiny) -> None:
    teacher = AutoModelForSequenceClassification.from_pretrained(tiny.folder / "teacher")
    teacher.train()
    teacher.bert.pooler.eval()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    modes = [module.training for module in teacher.modules()]
    student = shrink(teacher, layers=[2, 4])
    result = Distiller(
        teacher, student, tasks.glue("sst2", path=tiny.folder / "data"),
        stages=[Stage([Match("hidden")], frozen=["bert.embeddings", "bert.encoder.layer.0.attention"])],
        args={"max_steps": 4, "learning_rate": 1e-3, "output_dir": str(tiny.folder / "run")}, control=False,
        tokenizer=make_tokenizer(),
    ).run()  # fmt: skip
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert [module.training for module in teacher.modules()] == modes
    trained, untrained = weights(result.student), student.state_dict()
    changed = {name for name, tensor in trained.items() if not torch.equal(tensor, untrained[name])}
    assert changed
    assert not any(
        name.startswith(("bert.embeddings", "bert.encoder.layer.0.attention", "classifier")) for name in changed
    )


@pytest.mark.long
def test_the_logged_loss_does_not_grow_with_accumulation(tiny: Tiny) -> None:
    """BERT's **kwargs make Trainer believe that our loss is scaled already (DESIGN fact 1)."""
    seen = {}
    for accumulate in (1, 4):
        training = {"gradient_accumulation_steps": accumulate, "per_device_train_batch_size": 8 // accumulate}
        values = quick(tiny, max_steps=1, logging_steps=1, train_sampling_strategy="random", **training)
        values["training"]["output_dir"] = str(tiny.folder / f"run{accumulate}")
        build.from_recipe(tiny.write(values)).run()
        seen[accumulate] = losses(tiny.folder / f"run{accumulate}")[1, "loss"]
    assert seen[4] == pytest.approx(seen[1], rel=0.2)  # dropout differs


@pytest.mark.long
def test_a_loss_that_is_not_finite_stops_the_run(tiny: Tiny) -> None:
    def explodes(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        calls.append(1)
        return ((student - teacher) ** 2).mean() / (0.0 if len(calls) > 20 else 1.0)  # the first call is that of check

    calls: list[int] = []
    teacher = AutoModelForSequenceClassification.from_pretrained(tiny.folder / "teacher")
    run = Distiller(
        teacher, shrink(teacher, layers=[2, 4]), tasks.glue("sst2", path=tiny.folder / "data"),
        [Match("labels"), Match("hidden:2", loss=explodes)],
        {"num_train_epochs": 4, "per_device_train_batch_size": 8, "output_dir": str(tiny.folder / "run")},
        control=False, tokenizer=make_tokenizer(),
    )  # fmt: skip
    with pytest.raises(TextkdError) as caught:
        run.run()
    assert "step 20 of 32" in str(caught.value)
    assert "parts: hidden:2<-2/explodes" in str(caught.value)
    assert "checkpoint-16" in str(caught.value)
    assert not (tiny.folder / "run" / "seed-1" / "student").exists()


def fill_the_disk() -> None:
    """The second checkpoint finds no space for its optimizer."""
    original, seen = torch.save, []

    def full(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if str(path).endswith("optimizer.pt"):
            seen.append(1)
            if len(seen) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        original(value, path, *args, **kwargs)

    torch.save = full


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_good_checkpoint(tiny: Tiny) -> None:
    file = tiny.write(quick(tiny, save_strategy="steps", save_steps=2))
    ended = textkd("run", file, folder=tiny.folder, patch=fill_the_disk)
    assert ended.code == 2
    assert "no space left on the disk" in ended.said
    assert "checkpoint-2" in ended.said
    assert [p.name for p in (tiny.folder / "run").rglob("checkpoint-*")] == ["checkpoint-2"]
    assert textkd("run", file, folder=tiny.folder).code == 0


STOPS = [
    pytest.param(signal.SIGINT, id="ctrl-c"),
    pytest.param(signal.SIGTERM, id="sigterm", marks=pytest.mark.slow),
]


def signal_itself(number: int) -> None:
    original, calls = DistilTrainer.compute_loss, [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 7:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    DistilTrainer.compute_loss = wrapped


@pytest.mark.long
@pytest.mark.parametrize("number", STOPS)
def test_a_stopped_run_goes_on(number: int, tiny: Tiny) -> None:
    values = quick(tiny, max_steps=20, save_strategy="no", eval_strategy="no", logging_steps=5)
    file = tiny.write(values)
    straight = {**values, "training": {**values["training"], "output_dir": str(tiny.folder / "straight")}}
    assert textkd("run", tiny.write(straight, "straight.yaml"), folder=tiny.folder).code == 0
    stopped = textkd("run", file, folder=tiny.folder, patch=functools.partial(signal_itself, number))
    assert stopped.code == 130, stopped.said
    assert [at.name for at in (tiny.folder / "run").rglob("checkpoint-*")] == ["checkpoint-7"]
    assert textkd("run", file, folder=tiny.folder).code == 0
    assert differences(losses(tiny.folder / "run"), losses(tiny.folder / "straight")) < 1e-6


@pytest.mark.long
def test_checkpointed_activations_give_the_same_losses(tiny: Tiny) -> None:
    seen = {}
    for on in (False, True):
        values = quick(tiny, gradient_checkpointing=on, output_dir=str(tiny.folder / f"run{on}"))
        if not HOOKS_ARE_RECOMPUTED:  # else refused
            values["matches"].append({"tap": "attention", "layers": "uniform"})
        build.from_recipe(tiny.write(values)).run()
        seen[on] = losses(tiny.folder / f"run{on}")
    assert differences(seen[False], seen[True]) < 1e-5


@pytest.mark.long
def test_the_best_model_is_published_if_asked(tiny: Tiny) -> None:
    values = quick(tiny, num_train_epochs=4, max_steps=-1, load_best_model_at_end=True, learning_rate=5e-3)
    build.from_recipe(tiny.write(values)).run()
    found = losses(tiny.folder / "run")
    best = max(value for (_, name), value in found.items() if name == "eval/accuracy")
    from textkd import report

    assert report.load(tiny.folder / "run").models["student"].mean("accuracy") == pytest.approx(best)


@pytest.mark.long
def test_events_for_tensorboard_stay_in_the_run_folder(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(DistilTrainer, "keep_events", lambda self, folder: kept.append(folder))
    build.from_recipe(tiny.write(quick(tiny))).run()
    assert kept == [tiny.folder / "run" / "seed-1" / "student.logs" / "stage-1"]


AMD, INTEL = "vendor_id : AuthenticAMD", "vendor_id : GenuineIntel"


@pytest.mark.parametrize(
    ("info", "fast"),
    [
        (f"{AMD}\nflags : avx2 avx512_bf16 fma\n", True), (f"{AMD}\nflags : avx2 fma\n", False),
        (f"{INTEL}\nflags : avx512_bf16 avx512f\n", False), (f"{INTEL}\nflags : avx512_bf16 amx_bf16 amx_tile\n", True),
        ("Features : fp asimd bf16 i8mm\n", True), ("Features : fp asimd bf16\n", True), ("Features : fp\n", False),
    ],
)  # fmt: skip
def test_auto_takes_bf16_where_it_is_faster(
    info: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(arguments, "CPUINFO", tmp_path / "cpuinfo")
    assert arguments.has_bf16() is fast
    assert make_arguments({"bf16": "auto"}, tmp_path).bf16 is fast
    monkeypatch.setattr(arguments, "CPUINFO", tmp_path / "none")
    assert not arguments.has_bf16()


PLAIN, CHECKPOINTS = {"bf16": True}, {"bf16": True, "gradient_checkpointing": True}


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "short", "plain"),
    [(PLAIN, 128, True), (PLAIN, 3, False), (CHECKPOINTS, 128, False), ({}, 128, False)],
)
def test_bf16_trains_without_the_fused_attention_that_is_slow_backward(
    arguments: dict[str, Any], short: int, plain: bool, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, original, inside = set(), torch.nn.functional.scaled_dot_product_attention, DistilTrainer.compute_loss

    def looked_at(*args: Any, **kwargs: Any) -> torch.Tensor:
        seen.add((trains[-1], torch.is_grad_enabled(), torch.backends.cuda.flash_sdp_enabled()))
        return original(*args, **kwargs)

    def step(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        trains.append(model.training)
        try:
            return inside(self, model, *args, **kwargs)
        finally:
            trains.pop()

    trains = [False]
    monkeypatch.setattr(DistilTrainer, "compute_loss", step)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", looked_at)
    monkeypatch.setattr(cpu_attention, "SHORT", short)
    result = build.from_recipe(tiny.write(quick(tiny, **arguments))).run()
    assert weights(result.student)["classifier.weight"].dtype == torch.float32
    assert {fused for trains, grad, fused in seen if trains and grad} == (set() if plain else {True})
    assert {fused for trains, grad, fused in seen if not (trains and grad)} == {True}  # the teacher, evaluation, timing


@pytest.mark.slow
def test_the_plain_loop_of_the_recipes_runs(tmp_path: Path) -> None:
    make_teacher().save_pretrained(tmp_path / "teacher")
    make_tokenizer().save_pretrained(tmp_path / "teacher")
    write_tsv(tmp_path / "train.tsv", sentences(64, 0))
    command = [sys.executable, str(ROOT / "recipes" / "plain_loop.py"), "teacher", "train.tsv"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "hidden:2<-4/mse" in done.stdout
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain_loop_student")
    assert student.config.num_hidden_layers == 2
