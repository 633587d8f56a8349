"""Several tiny models that learn or teach together, and their rows, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tiny_lab import make_teacher
from torch import Tensor, nn

from textkd import Match, Stage
from textkd.teachers.frozen import FrozenModel
from textkd.training.stages import Data, Trained, run_stages
from textkd.training.trainer import TOGETHER

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
RATE, CLIP, BATCH = 1e-3, 0.5, 8  # every net's norm is above CLIP
# the gradient of a key's bias is 0 but for rounding, of which a smaller one would make whole steps
EPSILON = 1e-4


def net(seed: int, layers: int = 2, hidden: int = 16, **settings: Any) -> Any:
    """A classifier without dropout, whose weights are those of `seed`."""
    model = make_teacher(layers, hidden, **{**STILL, **settings})
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def rows(count: int, seed: int) -> list[dict[str, Tensor]]:
    """Rows of 3 to 8 tokens, with a label that they tell."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        ids = torch.randint(5, 21, (8,), generator=generator)
        mask = (torch.arange(8) < torch.randint(3, 9, (1,), generator=generator)).long()
        label = ((ids * mask).sum() > 13 * mask.sum()).long()
        found.append({"input_ids": ids * mask, "attention_mask": mask, "labels": label})
    return found


def collate(some: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in some]) for name in some[0]}


def accuracy(predictions: Any, labels: Any) -> dict[str, float]:
    return {"accuracy": float((predictions.argmax(-1) == labels).mean())}


TRAIN, EVAL = rows(40, 1), rows(24, 2)


def data() -> Data:
    return Data(TRAIN, EVAL, collate, accuracy, "cross_entropy", "accuracy")


def batches(size: int = BATCH) -> list[dict[str, Tensor]]:
    """The rows as a sequential loader gives them."""
    return [collate(TRAIN[start : start + size]) for start in range(0, len(TRAIN), size)]


def mutual(names: Sequence[str]) -> list[Match]:
    """Deep mutual learning: labels, and every other peer."""
    share = 1 / (len(names) - 1)
    peers = [Match(student=f"{own}/logits", teacher=f"{other}/logits", weight=share)
             for own in names for other in names if other != own]  # fmt: skip
    return [Match("labels"), *peers]


def train(
    work: Path, models: Mapping[str, nn.Module], matches: Sequence[Match],
    teachers: Mapping[str, nn.Module] | None = None, update: str = TOGETHER, frozen: Sequence[str] = (),
    **training: Any,
) -> Trained:  # fmt: skip
    """One stage over the rows in their order."""
    arguments = {
        "num_train_epochs": 1, "per_device_train_batch_size": BATCH, "learning_rate": RATE, "logging_steps": 1,
        "lr_scheduler_type": "constant", "train_sampling_strategy": "sequential", "max_grad_norm": CLIP,
        "eval_strategy": "no", "save_strategy": "no", "use_cpu": True, "adam_epsilon": EPSILON, **training,
    }  # fmt: skip
    read = {name: FrozenModel(model) for name, model in (teachers or {}).items()}
    return run_stages(
        work, models, read, [Stage(matches, frozen=frozen)], data(), arguments, 1, "cohort", update=update
    )


def parts(done: Trained) -> list[dict[str, float]]:
    """The parts of every step, with the total as "loss"."""
    return [{"loss": row["loss"], **row["parts"]} for row in done.history if "loss" in row]


def state(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, copied."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
