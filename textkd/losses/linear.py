"""Logits that nobody has computed yet: what goes into a linear head, and the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class LinearLogits:
    """The logits of a linear head that nobody has computed yet: hidden @ weight^T + bias, [..., V].

    The head may be an LM head, BERT's MLM decoder, TrOCR's output_projection. They are given to a loss in place of the
    logits. Losses that are `chunkable` compute them a few rows at a time and keep none, so that neither logits [N, V]
    nor their gradient are ever whole.

    Args:
        hidden: [..., H], what goes into the head.
        weight: [V, H], the head's own parameter.
        bias: [V], the head's own parameter, or None.
        dtype: what the product is taken in; None: a loss that is called under autocast takes it in autocast's type, as
            the head would.

    Example:
        >>> logits = LinearLogits(torch.ones(2, 5, 8), torch.ones(20, 8))
        >>> logits.shape, logits.whole()[0, 0, 0].item()
        (torch.Size([2, 5, 20]), 8.0)
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    dtype: torch.dtype | None = None

    @property
    def shape(self) -> torch.Size:
        """[...,V], as the logits would have it."""
        return torch.Size([*self.hidden.shape[:-1], self.weight.shape[0]])

    @property
    def device(self) -> torch.device:
        return self.hidden.device

    @property
    def requires_grad(self) -> bool:
        return any(x is not None and x.requires_grad for x in (self.hidden, self.weight, self.bias))

    def detach(self) -> LinearLogits:
        """The same without gradient."""
        bias = None if self.bias is None else self.bias.detach()
        return LinearLogits(self.hidden.detach(), self.weight.detach(), bias, self.dtype)

    def whole(self) -> Tensor:
        """The logits [...,V] as a tensor."""
        ready = self if self.dtype is None else self.narrowed()
        return ready.of(ready.hidden)

    def of(self, hidden: Tensor) -> Tensor:
        """The head's logits of other hidden states.

        Args:
            hidden: [..., H].

        Returns:
            [..., V].
        """
        return F.linear(hidden.to(self.weight.dtype), self.weight, self.bias)

    def narrowed(self) -> LinearLogits:
        """The same in the type that the head computes in here: `dtype`, autocast's, or the wider one of hidden states
        and weights."""
        kind = self.hidden.device.type
        cast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        wide = torch.promote_types(self.hidden.dtype, self.weight.dtype)
        dtype = self.dtype or (torch.get_autocast_dtype(kind) if cast and wide != torch.float64 else wide)
        bias = None if self.bias is None else self.bias.to(dtype)
        return LinearLogits(self.hidden.to(dtype), self.weight.to(dtype), bias, self.dtype)

    def __len__(self) -> int:
        return len(self.hidden)


Taps = Tensor | LinearLogits | Sequence[Tensor]
