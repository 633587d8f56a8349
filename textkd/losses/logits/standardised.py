"""Logit standardisation (Sun et al. 2024, arXiv:2403.01427): the temperature of each row is its own spread, so a small
student need not copy the size of a large teacher's logits, only their shape."""

from __future__ import annotations

from torch import Tensor


def z_scores(z: Tensor, eps: float = 1e-7) -> Tensor:
    """(z - mean) / (std + eps) of each row over its classes, with the unbiased std (C - 1) as the authors' code has it.

    z: [...,C], C of 2 or more. A constant row gives zeros, with a finite gradient.
    """
    return (z - z.mean(-1, keepdim=True)) / (z.std(-1, keepdim=True) + eps)
