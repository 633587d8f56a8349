"""The truncated singular value decomposition of a weight, as two factors."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 8192  # that are looked at together: tables of words are long


@torch.no_grad()
def factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two matrices whose product is as near to a weight as any of this rank (Eckart and Young 1936), in the Frobenius
    norm. Each takes the root of the singular values, so that both learn alike.

    Args:
        weight: [O, I], of floats.
        rank: r, from 1 to the smaller of O and I; at that the product is the weight.

    Returns:
        (left [O, r], right [r, I]), of the weight's dtype and device; computed in float64.

    Example:
        >>> weight = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> left, right = factors(weight, 1)
        >>> bool(torch.allclose(left @ right, torch.tensor([[2.0, 0.0], [0.0, 0.0]]), atol=1e-6))
        True
    """
    if weight.shape[0] < weight.shape[1]:
        left, right = factors(weight.T, rank)
        return right.T.contiguous(), left.T.contiguous()
    square = sum(part.double().T @ part.double() for part in torch.split(weight, ROWS))
    _, directions = torch.linalg.eigh(square)  # rising, so the largest are the last
    kept = directions[:, -rank:].flip(1)  # [I, r]
    ahead = torch.cat(
        [part.double() @ kept for part in torch.split(weight, ROWS)]
    )  # [O, r]: left vectors by singular values
    root = ahead.square().sum(0).sqrt().sqrt()
    root = torch.where(root > 0, root, 1.0)
    return (ahead / root).to(weight.dtype), (kept * root).T.to(weight.dtype).contiguous()
