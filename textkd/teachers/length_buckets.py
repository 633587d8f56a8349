"""Rows of unlike length run in pieces of like length: a short row does not pay for the padding of a long one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from textkd.models.taps.address import Address

# inputs that can be cut to a length, and families of taps with the dimensions that are positions then
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
POSITIONS = {"hidden": (1,), "heads": (2,), "attention": (2, 3), "scores": (2, 3)}
# at most so many pieces, of at least so many rows each, where they hold at most this share of the positions
MOST, ROWS, WORTH = 4, 4, 0.9


@dataclass(frozen=True)
class Piece:
    """Some rows of a batch, cut to the longest of them. rows [b]: their places in the batch."""

    rows: Tensor
    length: int
    inputs: Mapping[str, Tensor]


class Pieces:
    """Runs batches in pieces where that is worth it.

    Args:
        addresses: of the taps that are read.
        wanted: False: never.
    """

    def __init__(self, addresses: Sequence[Address], wanted: bool = True) -> None:
        self.addresses, self.wanted = tuple(addresses), wanted and fits(addresses)

    def run(
        self, answer: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor] | None:
        """The taps of a batch.

        Args:
            answer: f(inputs) -> taps by address.
            inputs: the columns, [B, ...].

        Returns:
            The taps, zero at padding that no piece had; None where the batch is to run whole.
        """
        pieces = cut(inputs) if self.wanted else []
        if not pieces:
            return None
        joined = join(pieces, [answer(piece.inputs) for piece in pieces], self.addresses,
                      inputs["attention_mask"].shape[1])  # fmt: skip
        self.wanted = joined is not None
        return joined


def fits(addresses: Sequence[Address]) -> bool:
    """Whether taps of all `addresses` can be put together again: a loss is a mean over the whole batch, and which
    dimensions of a module's output are positions is not known."""
    return all(_joins(address) for address in addresses)


def cut(inputs: Mapping[str, Tensor]) -> list[Piece]:
    """The pieces of a batch of tokens [B, T], at most `MOST` of at least `ROWS` rows each; none where the batch holds
    other things than tokens and their mask, or where the pieces hold more than `WORTH` of its positions."""
    mask = inputs.get("attention_mask")
    if mask is None or mask.dim() != 2 or any(k not in INPUTS or v.shape != mask.shape for k, v in inputs.items()):
        return []
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    lengths = (places * mask.bool()).amax(dim=1).clamp(min=1)  # up to the last token: padding before it stays
    order = lengths.argsort()
    ways = [order.chunk(count) for count in range(2, MOST + 1) if len(order) >= count * ROWS]
    if not ways:
        return []
    best = min(ways, key=lambda way: _positions(way, lengths))
    if _positions(best, lengths) > WORTH * mask.numel():
        return []
    longest = [int(lengths[rows].max()) for rows in best]
    return [
        Piece(rows, length, {name: value[rows, :length] for name, value in inputs.items()})
        for rows, length in zip(best, longest, strict=True)
    ]


def join(
    pieces: Sequence[Piece], taps: Sequence[Mapping[str, Tensor]], addresses: Sequence[Address], length: int
) -> dict[str, Tensor] | None:
    """The taps of the whole batch, zero at padding that no piece had. None where a tap has other positions than the
    tokens of its piece (windows, pooled sequences): then only the whole batch gives it."""
    joined: dict[str, Tensor] = {}
    count = sum(len(piece.rows) for piece in pieces)
    for address in addresses:
        name = str(address)
        parts = [part[name] for part in taps]
        positions = _positions_of(address, parts[0])
        if any(part.shape[d] != piece.length for part, piece in zip(parts, pieces, strict=True) for d in positions):
            return None
        shape = [length if d in positions else size for d, size in enumerate(parts[0].shape)]
        whole = parts[0].new_zeros([count, *shape[1:]])
        for part, piece in zip(parts, pieces, strict=True):
            corner = whole
            for dimension in positions:
                corner = corner.narrow(dimension, 0, piece.length)
            corner[piece.rows] = part
        joined[name] = whole
    return joined


def _joins(address: Address) -> bool:
    return address.kind == "logits" or (
        address.family in POSITIONS and address.kind not in ("module", "gradient", "loss_gradient") and not address.side
    )


def _positions_of(address: Address, tap: Tensor) -> tuple[int, ...]:
    if address.kind == "pooled" or (address.kind in ("logits", "head_input") and tap.dim() == 2):
        return ()
    return POSITIONS.get(address.family, (1,))


def _positions(way: Sequence[Tensor], lengths: Tensor) -> int:
    return sum(len(rows) * int(lengths[rows].max()) for rows in way)
