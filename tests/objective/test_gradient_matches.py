"""Training on gradients: matches on the taps gradient:k and loss_gradient:k, through wire and through a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_lab import Tiny, make_teacher
from torch.testing import assert_close

from textkd import Match, TextkdError, shrink
from textkd.config import build
from textkd.training.wiring import wire

IDS = torch.arange(4 * 6).view(4, 6) % 16 + 5
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": IDS[:, 0] % 2}
BATCH["attention_mask"][1, 4:] = 0


@pytest.mark.parametrize(
    "match",
    [
        Match("gradient:0", loss="sobolev"),
        Match("loss_gradient:0", loss="gradient_attention"),
        pytest.param(Match("gradient", loss="activation_map"), marks=pytest.mark.long),
        pytest.param(Match(["hidden", "gradient"], loss="lwm"), marks=pytest.mark.long),
    ],
    ids=lambda match: match.loss,
)
def test_the_student_learns_the_teachers_gradients(match: Match) -> None:
    teacher = make_teacher()
    student = shrink(teacher, layers=[1, 3])
    wired = wire(student.train(), teacher, [match], BATCH)
    optimizer, values = torch.optim.Adam(student.parameters(), lr=3e-3), []
    for _ in range(15):
        loss, _, _ = wired.loss(student, BATCH)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    wired.close()
    assert sum(values[-3:]) < 0.8 * sum(values[:3]), values
    assert all(p.grad is None for p in teacher.parameters())


def weights_of(tiny: Tiny, name: str, **training: Any) -> dict[str, torch.Tensor]:
    values = tiny.recipe | {"control": False}
    values["matches"] = [
        {"tap": "labels", "weight": 0.5},
        {"tap": "gradient:0", "loss": "sobolev", "weight": 100.0},
        {"tap": "loss_gradient:1", "loss": "normalised_mse"},
        {"tap": ["hidden", "gradient"], "loss": "lwm", "layers": {1: 2}},
    ]
    # plain descent: Adam makes steps of the rounding in gradients that are zero (the bias of keys)
    plain = {"max_steps": 2, "dropout": 0.0, "optim": "sgd", "learning_rate": 0.05, "max_grad_norm": 0.0}
    values["training"] |= {**plain, "output_dir": str(tiny.folder / name), **training}
    result = build.from_recipe(tiny.write(values)).run()
    return load_file(Path(result.student) / "model.safetensors")


@pytest.mark.long
def test_a_recipe_trains_and_the_cut_into_micro_batches_changes_nothing(tiny: Tiny) -> None:
    whole = weights_of(tiny, "whole")
    parts = weights_of(tiny, "parts", per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert_close(parts, whole, rtol=1e-4, atol=1e-5)
    start = make_teacher().state_dict()["bert.encoder.layer.1.output.dense.weight"]
    assert (whole["bert.encoder.layer.0.output.dense.weight"] - start).abs().max() > 1e-3
    half = weights_of(tiny, "half", bf16=True, use_cpu=True)
    assert all(weight.isfinite().all() for weight in half.values())


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_checkpointing_is_refused(tiny: Tiny, name: str) -> None:
    """Before anything is trained."""
    values = tiny.recipe | {"matches": [{"tap": "gradient:0", "loss": "sobolev"}]}
    values["training"] |= {name: True}
    with pytest.raises(TextkdError, match="gradient checkpointing"):
        build.from_recipe(tiny.write(values)).check()
