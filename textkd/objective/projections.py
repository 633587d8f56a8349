"""Learnable width adapters, student width -> teacher width.

They live on the student in one `nn.ModuleDict` under `textkd_projections`, so that the optimizer, gradient clipping,
checkpoints and DDP treat them like the student's own weights; `detach` takes them off at export.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
NAMES = (*_KINDS, "identity", "grid")
SPECIAL_TOKENS = {"vit": 1, "deit": 2}  # CLS; CLS and distillation: they come before the patches


@dataclass(frozen=True)
class Grid:
    """How the tokens of an image encoder lie: `special` tokens, then height x width patches, row by row."""

    height: int
    width: int
    special: int = 0

    def __str__(self) -> str:
        return f"{self.height}x{self.width} patches after {self.special} special tokens"


def grid_of(config: Any) -> Grid:
    """The grid of the hidden states of a ViT or DeiT, or of the encoder of a `VisionEncoderDecoderModel`, from its
    config. Raises TextkdError for other architectures."""
    config = getattr(config, "encoder", config)
    kind = getattr(config, "model_type", type(config).__name__)
    if kind not in SPECIAL_TOKENS:
        found = f"a model of type {kind} has none that textkd knows"
        raise fail("a grid of patches", found, fix=f"projection grid is for encoders {' and '.join(SPECIAL_TOKENS)}")
    image, patch = (x if isinstance(x, list | tuple) else (x, x) for x in (config.image_size, config.patch_size))
    return Grid(image[0] // patch[0], image[1] // patch[1], SPECIAL_TOKENS[kind])


def common_grid(student: Grid, teacher: Grid) -> Grid:
    """What both sides are pooled to: the coarser of the two in each axis, without special tokens. Resolution is never
    invented on either side."""
    return Grid(min(student.height, teacher.height), min(student.width, teacher.width))


class GridPool(nn.Module):
    """[B, special + h*w, H] -> [B, h'*w', H]: special tokens dropped, the patches pooled to the grid `target` by 2-D
    adaptive average pooling. No weights. Raises TextkdError for a target that is finer, or for other tokens."""

    def __init__(self, grid: Grid, target: Grid) -> None:
        super().__init__()
        if target.height > grid.height or target.width > grid.width:
            fix = "pool both sides to `common_grid`"
            raise fail(f"a pooling to {target}", f"there are only {grid}", fix=fix)
        self.grid, self.target = grid, target

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        height, width, special = self.grid.height, self.grid.width, self.grid.special
        if x.dim() != 3 or x.shape[1] != special + height * width:
            fix = "use projection grid for hidden states of an image encoder, at the image size in its config"
            raise fail(f"a grid of {self.grid}", f"a tap of shape {list(x.shape)}", fix=fix)
        patches = x[:, special:]
        size = self.target.height, self.target.width
        if size == (height, width):
            return patches
        pooled = F.adaptive_avg_pool2d(patches.transpose(1, 2).reshape(len(x), -1, height, width), size)
        return pooled.flatten(2).transpose(1, 2)

    def extra_repr(self) -> str:
        """The two grids: `attach` tells projections apart by their repr."""
        return f"{self.grid} -> {self.target.height}x{self.target.width}"


def teacher_pool(student: Grid, teacher: Grid) -> GridPool:
    """What a teacher's tap passes through where the student's has a grid projection: both end on the common grid."""
    return GridPool(teacher, common_grid(student, teacher))


def build(
    kind: str,
    student_width: int,
    teacher_width: int,
    init_std: float = 0.02,
    *,
    grids: tuple[Grid, Grid] | None = None,
) -> nn.Module:
    """A new projection [..., student_width] -> [..., teacher_width], float32, on the CPU.

    kind: linear (W x + b), relu, tanh, gelu (of it), linear_norm (LayerNorm of it), identity (equal widths only), or
    grid: [B, special + h*w, student_width] -> [B, h'*w', teacher_width], the student's patches on the common grid of
    `grids` (student's, teacher's), then linear if the widths differ; the teacher's side needs `teacher_pool`.
    W ~ Normal(0, init_std) from torch's global generator, b = 0: the same after the same `torch.manual_seed`.
    Raises TextkdError for an unknown kind, for identity between different widths, and for grid without grids.
    """
    if kind not in NAMES:
        raise fail(f"the projection {kind}", "no such kind", near=(kind, NAMES), fix=f"one of {', '.join(NAMES)}")
    if kind == "grid":
        return _grid_projection(student_width, teacher_width, init_std, grids)
    if kind == "identity":
        if student_width != teacher_width:
            widths = f"the student is {student_width} wide, the teacher {teacher_width}"
            raise fail("the projection identity", widths, fix="use linear")
        return nn.Identity()
    return _KINDS[kind](_linear(student_width, teacher_width, init_std))


def _linear(student_width: int, teacher_width: int, init_std: float) -> nn.Linear:
    linear = nn.Linear(student_width, teacher_width)
    nn.init.normal_(linear.weight, std=init_std)
    nn.init.zeros_(linear.bias)
    return linear


def _grid_projection(
    student_width: int, teacher_width: int, init_std: float, grids: tuple[Grid, Grid] | None
) -> nn.Module:
    if grids is None:
        raise fail("the projection grid", "no grids of patches", fix="use it between encoders of images")
    pool = GridPool(grids[0], common_grid(*grids))
    if student_width == teacher_width:
        return pool
    return nn.Sequential(pool, _linear(student_width, teacher_width, init_std))


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
