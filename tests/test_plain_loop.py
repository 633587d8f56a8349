"""A bare loop over `Wiring.loss` trains as the Trainer does."""

from __future__ import annotations

import pytest
import torch
from drive import differences, losses, weights
from tiny_lab import Tiny, make_teacher, make_tokenizer
from torch.utils.data import DataLoader

from textkd import Distiller, Match, shrink, tasks, wire
from textkd.models.forward import forward_inputs

MATCHES = [
    Match("labels", weight=0.3),
    Match("logits", temperature=2, weight=0.7),
    Match("hidden", layers="uniform", schedule={"kind": "linear"}),
    Match("attention", layers={1: 2}, weight=5),
]


def test_the_trainer_is_a_plain_loop(tiny: Tiny) -> None:
    teacher = make_teacher(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    student = shrink(teacher, layers=[2, 4])
    tokenizer = make_tokenizer()
    task = tasks.glue("sst2", path=tiny.folder / "data")
    arguments = {
        "num_train_epochs": 2, "per_device_train_batch_size": 8, "train_sampling_strategy": "sequential",
        "optim": "sgd", "learning_rate": 0.05, "lr_scheduler_type": "constant", "logging_steps": 1,
        "output_dir": str(tiny.folder / "run"),
    }  # fmt: skip
    result = Distiller(teacher, student, task, MATCHES, arguments, control=False, tokenizer=tokenizer).run()
    logged = losses(tiny.folder / "run")

    accepts = forward_inputs(student)
    rows = task.encode(tokenizer, "train", accepts, 128)
    loader = DataLoader(rows, batch_size=8, collate_fn=task.collator(tokenizer))
    student.train()
    wired = wire(student, teacher, MATCHES, next(iter(loader)))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    found, step = {}, 0
    for _ in range(2):
        for batch in loader:
            loss, parts, _ = wired.loss(student, batch, progress=step / 16)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            found.update({(step, name): value.item() for name, value in {"loss": loss.detach(), **parts}.items()})
    wired.close()
    assert step == 16
    assert differences(found, {key: value for key, value in logged.items() if "eval" not in key[1]}) < 1e-6
    assert differences(weights(result.student), dict(student.state_dict())) < 1e-6
    assert found[16, "loss"] == pytest.approx(
        0.3 * found[16, "labels/cross_entropy"]
        + 0.7 * found[16, "logits/kl"]
        + (found[16, "hidden:1<-2/mse"] + found[16, "hidden:2<-4/mse"]) / 16
        + 5 * found[16, "attention:1<-2/mse"],
        rel=1e-5,
    )
