"""Learnable width adapters, student width -> teacher width.

They live on the student in one `nn.ModuleDict` under `textkd_projections`, so that the optimizer, gradient clipping,
checkpoints and DDP treat them like the student's own weights; `detach` takes them off at export.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from textkd.errors import fail

ATTRIBUTE = "textkd_projections"
_EMPTY = nn.ModuleDict()


def _activated(activation: type[nn.Module]) -> Callable[[nn.Linear], nn.Module]:
    return lambda linear: nn.Sequential(linear, activation())


_KINDS: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "linear": lambda linear: linear,
    "relu": _activated(nn.ReLU),
    "tanh": _activated(nn.Tanh),
    "gelu": _activated(nn.GELU),
    "linear_norm": lambda linear: nn.Sequential(linear, nn.LayerNorm(linear.out_features)),
}
NAMES = (*_KINDS, "identity")


def build(kind: str, student_width: int, teacher_width: int, init_std: float = 0.02) -> nn.Module:
    """A new projection [..., student_width] -> [..., teacher_width], float32, on the CPU.

    kind: linear (W x + b), relu, tanh, gelu (of it), linear_norm (LayerNorm of it), identity (equal widths only).
    W ~ Normal(0, init_std) from torch's global generator, b = 0: the same after the same `torch.manual_seed`.
    Raises TextkdError for an unknown kind, and for identity between different widths.
    """
    if kind not in NAMES:
        raise fail(f"the projection {kind}", "no such kind", near=(kind, NAMES), fix=f"one of {', '.join(NAMES)}")
    if kind == "identity":
        if student_width != teacher_width:
            widths = f"the student is {student_width} wide, the teacher {teacher_width}"
            raise fail("the projection identity", widths, fix="use linear")
        return nn.Identity()
    linear = nn.Linear(student_width, teacher_width)
    nn.init.normal_(linear.weight, std=init_std)
    nn.init.zeros_(linear.bias)
    return _KINDS[kind](linear)


def attach(student: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Puts `module` on the student under `name`, on the student's device and in its float type; returns it.

    If the student has an equal module under this name (the stage before has trained it), that one stays and is
    returned. Raises TextkdError if a different one has the name.
    """
    if name in names(student):
        old = get(student, name)
        if str(old) == str(module):
            return old
        raise fail(f"the projection {name}: {module}", f"the student has {old} there", fix="detach the old one first")
    if not hasattr(student, ATTRIBUTE):
        setattr(student, ATTRIBUTE, nn.ModuleDict())
    like = next((p for p in student.parameters() if p.is_floating_point()), torch.empty(0))
    module.to(device=like.device, dtype=like.dtype)
    _all(student)[_encode(name)] = module
    return module


def get(student: nn.Module, name: str) -> nn.Module:
    """The student's projection `name`. Raises TextkdError with the nearest names if there is none."""
    if name not in names(student):
        fix = f"attached are: {', '.join(names(student)) or 'none'}"
        raise fail(f"the projection {name}", "the student has none of this name", near=(name, names(student)), fix=fix)
    return _all(student)[_encode(name)]


def names(student: nn.Module) -> list[str]:
    """The names of the student's projections, in the order in which they were attached."""
    return [_decode(key) for key in _all(student)]


def detach(student: nn.Module) -> dict[str, nn.Module]:
    """Takes all projections off the student (export) and returns them by name. Without any it does nothing."""
    taken = {_decode(key): module for key, module in _all(student).items()}
    if hasattr(student, ATTRIBUTE):
        delattr(student, ATTRIBUTE)
    return taken


def _all(student: nn.Module) -> nn.ModuleDict:
    found: Any = getattr(student, ATTRIBUTE, _EMPTY)
    return cast(nn.ModuleDict, found)


def _encode(name: str) -> str:
    # A ModuleDict key may hold no dot and may not be one of its own attributes ("keys", "type").
    key = name.replace("%", "%25").replace(".", "%2E")
    return f"%%{key}" if not key or hasattr(_EMPTY, key) else key


def _decode(key: str) -> str:
    return key.removeprefix("%%").replace("%2E", ".").replace("%25", "%")
