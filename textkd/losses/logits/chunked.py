"""Values of the rows of large logits, a few rows at a time. What softmax, logarithm and product make of logits
[N,64000] takes many times their own memory; of a few rows it stays in the processor's cache, which makes it faster too.
The backward computes these rows once more instead of keeping anything."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from textkd.errors import fail
from textkd.losses.masking import expand, widen
from textkd.losses.options import Range

OfRows = Callable[..., Tensor]  # some rows [n,...] of every tensor -> their values [n], each of its own row only
Chunk = Annotated[int, Range(0)] | Literal["auto"]
At = slice | Tensor  # which rows
LARGE = 8192  # classes from which "auto" goes in chunks
# elements of a chunk: on a CPU what its cache holds, on an accelerator what keeps it busy
ELEMENTS = {"cpu": 2**19}
MORE_ELEMENTS = 2**22


def rows_per_chunk(shape: Sequence[int], chunk: int | str, device: torch.device) -> int:
    """How many rows of logits [...,C] go together; 0: all of them, without chunks.

    chunk: a number of rows, 0, or "auto": 0 for fewer than `LARGE` classes, else as many as `ELEMENTS` allow.
    """
    if isinstance(chunk, int):
        return chunk
    if shape[-1] < LARGE:
        return 0
    size = max(ELEMENTS.get(device.type, MORE_ELEMENTS) // shape[-1], 1)
    return size if torch.Size(shape[:-1]).numel() > size else 0


def in_chunks(of_rows: OfRows, tensors: Sequence[Tensor], mask: Tensor | None, size: int) -> Tensor:
    """of_rows(rows of every tensor), `size` rows at a time: [...], 0 in invalid rows, which are not computed at all.

    tensors: all [...,x] with the leading axes of the first, which has one axis more. of_rows sees them as [n,x] in
    their own types and widens them itself. The gradient reaches every tensor; a second derivative is refused.
    """
    lead = tensors[0].shape[:-1]
    values: Tensor = _InChunks.apply(of_rows, Selection(lead, mask, tensors[0].device), size, *tensors)  # type: ignore[no-untyped-call]
    return values


class Selection:
    """The valid rows among leading axes `lead`. With a mask, their count is fetched from the device."""

    def __init__(self, lead: torch.Size, mask: Tensor | None, device: torch.device) -> None:
        self.lead, self.device = lead, device
        self.rows: Tensor | None = None
        if mask is not None:
            valid = expand(mask, torch.empty(lead, device="meta")).expand(lead)
            self.rows = valid.flatten().nonzero()[:, 0].to(device)
        self.count = lead.numel() if self.rows is None else len(self.rows)

    def pieces(self, size: int) -> Iterator[At]:
        """The valid rows, `size` at a time."""
        for start in range(0, self.count, size):
            stop = min(start + size, self.count)
            yield slice(start, stop) if self.rows is None else self.rows[start:stop]

    def take(self, x: Tensor, at: At) -> Tensor:
        """Rows [n,...] of `x`; a slice of a contiguous tensor is no copy."""
        if x.is_contiguous():
            return self.flat(x)[at] if isinstance(at, slice) else self.flat(x).index_select(0, at)
        # a slice of a larger tensor (logits[:, :-1]): flattening would copy all of it
        rows = torch.arange(at.start, at.stop, device=x.device) if isinstance(at, slice) else at
        return x[torch.unravel_index(rows, tuple(self.lead))]

    def put(self, x: Tensor, at: At, values: Tensor) -> None:
        """Writes rows [n,...] into the contiguous `x`."""
        if isinstance(at, slice):
            self.flat(x)[at] = values
        else:
            self.flat(x).index_copy_(0, at, values.to(x.dtype))

    def like(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """A contiguous tensor to `put` all valid rows into; zero in the others."""
        make = torch.empty if self.rows is None else torch.zeros
        return make(x.shape, dtype=dtype or x.dtype, device=x.device)

    def flat(self, x: Tensor) -> Tensor:
        """[N,...] of [*lead,...]."""
        return x.view(-1, *x.shape[len(self.lead) :])


class _InChunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, of_rows: OfRows, chosen: Selection, size: int, *tensors: Tensor) -> Tensor:
        ctx.of_rows, ctx.chosen, ctx.size = of_rows, chosen, size
        ctx.save_for_backward(*tensors)
        values = torch.zeros(chosen.lead, dtype=wide_type(tensors), device=tensors[0].device)
        for at in chosen.pieces(size):
            chosen.put(values, at, of_rows(*(chosen.take(x, at) for x in tensors)))
        return values

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        of_rows, chosen, tensors = ctx.of_rows, ctx.chosen, ctx.saved_tensors
        needed = ctx.needs_input_grad[3:]
        gradients = [chosen.like(x) if need else None for x, need in zip(tensors, needed, strict=True)]
        upstream = upstream.contiguous()
        with outside_autocast(upstream.device.type):
            for at in chosen.pieces(ctx.size):
                rows = (chosen.take(x, at).detach() for x in tensors)
                parts = [part.requires_grad_(need) for part, need in zip(rows, needed, strict=True)]
                with torch.enable_grad():
                    values = of_rows(*parts)
                asked = [part for part in parts if part.requires_grad]
                found = iter(torch.autograd.grad(values, asked, chosen.take(upstream, at)))
                for gradient in gradients:
                    if gradient is not None:
                        chosen.put(gradient, at, next(found))
        return None, None, None, *gradients


def refuse_second_derivative() -> None:
    """Raises `TextkdError` in a backward that builds a graph of itself."""
    if torch.is_grad_enabled():
        raise fail(
            "a second derivative of a loss in chunks",
            "its backward computes the rows anew and leaves no graph",
            fix="no create_graph, or the loss's option chunk: 0 (whole logits)",
        )


def wide_type(tensors: Sequence[Tensor]) -> torch.dtype:
    """The float type of 32 bits or more that holds all of `tensors`; whole numbers do not count."""
    floats = [widen(x[:0]).dtype for x in tensors if x.is_floating_point()]
    return functools.reduce(torch.promote_types, floats)


def outside_autocast(kind: str) -> contextlib.AbstractContextManager[object]:
    """No autocast on devices of this kind, also on those that know none."""
    known = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if known else contextlib.nullcontext()
