"""Whether a model that is only read stays as it is: a student that shares weights with it would train it too."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from textkd.errors import Problem, TextkdError, problem

FIX = "give the student weights of its own: copy.deepcopy(model), or textkd.shrink"


def shared_problems(learners: Mapping[str, nn.Module], read: Mapping[str, nn.Module]) -> list[Problem]:
    """The models that are only read, and have weights in common that a model is about to train.

    Args:
        learners: the models that learn, by name; weights without requires_grad stay as they are.
        read: the others, by name.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> print(shared_problems({"student": nn.Sequential(layer)}, {"teacher": nn.Sequential(layer, nn.ReLU())})[0])
        asked: teacher, which is only read
          found: it shares 0.weight, 0.bias with student, which trains them
          fix: give the student weights of its own: copy.deepcopy(model), or textkd.shrink
    """
    found = []
    for name, other in read.items():
        places = {_place(weight): own for own, weight in other.named_parameters()}
        for learner, model in learners.items():
            trained = [_place(weight) for weight in model.parameters() if weight.requires_grad]
            if common := [places[place] for place in dict.fromkeys(trained) if place in places]:
                shown = ", ".join(common[:3]) + (f" and {len(common) - 3} more" if len(common) > 3 else "")
                what = f"it shares {shown} with {learner}, which trains them"
                found.append(problem(f"{name}, which is only read", what, fix=FIX))
    return found


def checksums(models: Mapping[str, nn.Module]) -> dict[str, int]:
    """A number for each weight of the models, by its whole name; weights that are cut over processes have none.

    Args:
        models: by name.

    Returns:
        {"teacher.layer.weight": 32-bit number}; another one, in all likelihood, where a single bit is another.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = checksums({"teacher": layer})
        >>> _ = layer.bias.data.add_(1)
        >>> [name for name, number in checksums({"teacher": layer}).items() if number != before[name]]
        ['teacher.bias']
    """
    named = [(f"{name}.{own}", weight) for name, model in models.items() for own, weight in model.named_parameters()]
    return {name: _number(weight) for name, weight in named if not hasattr(weight, "device_mesh")}


def refuse_changed(models: Mapping[str, nn.Module], before: Mapping[str, int]) -> None:
    """Raises `TextkdError` where a weight is another one than `checksums` had seen.

    Args:
        models: by name.
        before: `checksums` of the same models, earlier.
    """
    now = checksums(models)
    if changed := [name for name, number in before.items() if now.get(name, number) != number]:
        shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise TextkdError(problem("models that are only read stay as they are", f"{shown} changed in the training",
                                  fix=FIX))  # fmt: skip


@contextmanager
def unchanged(models: Mapping[str, nn.Module]) -> Iterator[None]:
    """Around a training that only reads `models`: raises `TextkdError` at its end where it has changed them.

    Args:
        models: by name.
    """
    seen = checksums(models)
    yield
    refuse_changed(models, seen)


def _place(weight: Tensor) -> tuple[str, int]:
    """Where the numbers of a weight are; a weight without numbers is itself."""
    return str(weight.device), weight.data_ptr() or id(weight)


def _number(weight: Tensor) -> int:
    return zlib.crc32(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
