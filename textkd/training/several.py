"""Checkpoints and metrics of several models that learn together: each is saved and judged by itself."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from textkd.errors import Problem, problem
from textkd.models.own.door import Own
from textkd.training.checkpoints import refuse_lost


def problems(
    in_turn: bool, accumulated: int, in_shards: bool, target_gradient: bool, compiled: bool = False
) -> list[Problem]:
    """What several models cannot do together.

    Args:
        in_turn: each has a step of its own.
        accumulated: micro-batches of a step.
        in_shards: FSDP is on.
        target_gradient: a gradient flows into a target.
        compiled: torch_compile is on.
    """
    found = []
    if in_shards:
        fix = "train with DDP (distributed_type: MULTI_GPU)"
        found.append(problem("several models that learn, in shards", "this is for one model alone", fix=fix))
    if compiled:
        what = "a compiled module is one model"
        found.append(problem("torch_compile of several models", what, fix="torch_compile: false"))
    if in_turn and accumulated > 1:
        what = "a model would step in the middle of another one's batch"
        fix = "gradient_accumulation_steps: 1, or update: together"
        found.append(problem(f"update: in_turn with gradient_accumulation_steps: {accumulated}", what, fix=fix))
    if in_turn and target_gradient:
        what = "in a turn one model steps, so the gradient into its target would be lost"
        found.append(problem("update: in_turn with target_gradient: true", what, fix="update: together"))
    return found


def save(models: Mapping[str, nn.Module], folder: Path) -> None:
    """Writes every model by its own `save_pretrained` into a folder of its name. One process calls it."""
    for name, model in models.items():
        own: Any = model
        own.save_pretrained(folder / name, save_original_format=False)


def load(models: Mapping[str, nn.Module], folder: Path, together: bool = True, in_shards: bool = False) -> bool:
    """Puts weights of a checkpoint back into the models, where transformers' Trainer would not find them.

    Args:
        models: by name.
        folder: of the checkpoint.
        together: `save` wrote it; False: Trainer did, of one model.
        in_shards: FSDP wrote the weights.

    Returns:
        Whether that was done.

    Raises:
        TextkdError: weights are missing or left over.
    """
    if not together and (in_shards or not all(isinstance(one, Own) for one in models.values())):
        return False
    for name, model in models.items():
        place = folder / name if together else folder
        refuse_lost(model, model.load_state_dict(weights_in(place), strict=False), str(place))
    return True


def weights_in(folder: Path) -> dict[str, Any]:
    """All weights of a model's folder by name; an average beside them is none."""
    files = sorted(folder.glob("model*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def metrics_of_all(
    names: Sequence[str], judge: Callable[[Any, Any], dict[str, float]]
) -> Callable[[Any, Any], dict[str, float]]:
    """A function (predictions of every model, labels) -> metrics: of each model by its name, as ``peer_1_accuracy``,
    and their means by the metrics' own names, by which the best checkpoint is chosen."""

    def judge_all(predictions: Sequence[Any], labels: Any) -> dict[str, float]:
        each = {name: judge(said, labels) for name, said in zip(names, predictions, strict=True)}
        own = {f"{name}_{metric}": value for name, one in each.items() for metric, value in one.items()}
        means = {metric: statistics.fmean(one[metric] for one in each.values()) for metric in each[names[0]]}
        return {**means, **own}

    return judge_all


def own_row(row: Mapping[str, Any], model: str, models: Sequence[str]) -> dict[str, Any]:
    """A row of the history of several models with what is one model's own: its losses, and its metrics by their plain
    names (see `metrics_of_all`)."""
    own = dict(row)
    others = tuple(f"{name}_" for name in models if name != model)
    if row.get("parts"):
        own["parts"] = {name: value for name, value in row["parts"].items() if name.startswith(f"{model}/")}
    if row.get("eval"):
        plain = {name: value for name, value in row["eval"].items() if not name.startswith((*others, f"{model}_"))}
        named = {name.removeprefix(f"{model}_"): v for name, v in row["eval"].items() if name.startswith(f"{model}_")}
        own["eval"] = {**plain, **named}
    return own
