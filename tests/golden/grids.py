"""How an original brings image features of two sizes together; textkd compares positions of one grid."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def same_grid(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Square patch maps [B,T,H] of two sizes, the finer one pooled adaptively to the coarser grid (RepDistiller)."""
    sides = [math.isqrt(x.shape[1]) for x in (student, teacher)]
    to = min(sides)
    pooled = [
        x if side == to else F.adaptive_avg_pool2d(x.mT.reshape(len(x), -1, side, side), to).flatten(2).mT
        for side, x in zip(sides, (student, teacher), strict=True)
    ]
    return pooled[0], pooled[1]
