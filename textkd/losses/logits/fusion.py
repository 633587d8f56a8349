"""Feature fusion learning's module: two branches' maps -> the logits of both together."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textkd.errors import fail
from textkd.losses.masking import expand, fill


class Fusion(nn.Module):
    """Logits [B,C] of two branches' last hidden states, for students of a training loop of one's own.

    Both next to each other -> depthwise convolution over 3 neighbours -> batch norm -> ReLU -> a linear map back to the
    width -> batch norm -> ReLU -> mean over positions -> linear. Without a grid the positions are a line (deviation:
    the same mathematics in one dimension, and padding is left out of convolution, statistics and mean).

    Args:
        width: H of one branch.
        classes: C.
        grid: rows and columns of image patches, whose neighbours are then 3x3 as in the original.

    Source:
        FFL, Kim et al. 2019, arXiv:1904.09058; code: FFL-pytorch.

    Example:
        >>> one, other = torch.ones(2, 5, 8), torch.zeros(2, 5, 8)
        >>> Fusion(width=8, classes=3)(one, other).shape
        torch.Size([2, 3])
    """

    def __init__(self, width: int, classes: int, *, grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        both, self.grid = 2 * width, grid
        kernel = (3, 3) if grid else (1, 3)
        self.mix = nn.Conv2d(both, both, kernel, padding="same", groups=both, bias=False)
        self.mix_norm = nn.BatchNorm1d(both)
        self.join = nn.Linear(both, width, bias=False)
        self.join_norm = nn.BatchNorm1d(width)
        self.classify = nn.Linear(width, classes)
        nn.init.normal_(self.mix.weight, std=math.sqrt(2.0 / (kernel[0] * kernel[1] * both)))
        nn.init.normal_(self.join.weight, std=math.sqrt(2.0 / width))

    def forward(self, one: Tensor, other: Tensor, mask: Tensor | None = None) -> Tensor:
        """one, other: [B,T,H], T = rows * columns of the grid; mask [B,T]."""
        rows, columns = self.grid or (1, one.shape[1])
        if one.shape != other.shape or rows * columns != one.shape[1]:
            found = f"{list(one.shape)} and {list(other.shape)}, grid {self.grid}"
            raise fail("two maps of one shape for fusion", found, fix="[B, T, H] twice, T = rows * columns of the grid")
        x = fill(torch.cat([one, other], dim=-1), mask)
        x = self.mix(x.transpose(1, 2).reshape(len(x), -1, rows, columns)).flatten(2).transpose(1, 2)
        x = F.relu(_normalised(self.mix_norm, x, mask))
        x = F.relu(_normalised(self.join_norm, self.join(x), mask))
        if mask is None:
            return self.classify(x.mean(1))  # type: ignore[no-any-return]
        count = (mask != 0).sum(1, keepdim=True).clamp(min=1)
        return self.classify(fill(x, mask).sum(1) / count)  # type: ignore[no-any-return]


def _normalised(norm: nn.BatchNorm1d, x: Tensor, mask: Tensor | None) -> Tensor:
    """Batch norm of [B,T,H] over the valid positions; 0 elsewhere."""
    if mask is None:
        y: Tensor = norm(x.flatten(0, 1)).view(x.shape)
        return y
    valid = expand(mask, x).expand(*x.shape[:2], 1).squeeze(-1)
    return torch.zeros_like(x).index_put((valid,), norm(x[valid]))
