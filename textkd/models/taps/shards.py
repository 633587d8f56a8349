"""Taps from within a block of a student in shards (FSDP2)."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from textkd.models.taps.address import Address
from textkd.models.taps.anatomy import Anatomy


def gather_for_backward(found: Anatomy, address: Address, tap: Tensor) -> None:
    """Has the weights around `tap` gathered again when its gradient arrives.

    FSDP2 frees a block's weights after its forward and gathers them when the gradient of the block's *output* arrives.
    A match on what is inside of a block may be all that its gradient comes from.
    """
    block, watched = cast(Any, _block(found, address)), cast(Any, tap)
    if tap.requires_grad and hasattr(block, "unshard"):

        def gather(gradient: Tensor) -> None:
            block.unshard()

        watched.register_hook(gather)


def _block(found: Anatomy, address: Address) -> nn.Module | None:
    """The block in shards that a tap is read in, the innermost one."""
    if address.kind == "module":
        parts = address.path.split(".")
        around = [found.model.get_submodule(".".join(parts[:end])) for end in range(len(parts), 0, -1)]
        return next((module for module in around if hasattr(module, "unshard")), None)
    return found.on(address).blocks[address.block - 1] if address.block else None
