"""A tap of a named model: ``big/hidden:4``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from textkd.errors import fail
from textkd.models.taps.address import Address


@dataclass(frozen=True)
class Tap:
    """What is read out of one of several models.

    Args:
        address: what is read.
        model: the name of the model; "" where nobody named one yet.

    Example:
        >>> str(Tap(Address("hidden", block=4), "big"))
        'big/hidden:4'
    """

    address: Address
    model: str = ""

    @classmethod
    def parse(cls, text: str | Address | Tap) -> Tap:
        """The tap that a text writes.

        Args:
            text: ``[model/]address``, as ``hidden:4`` or ``big/hidden:4``; an address; a tap, which comes back as it
                is.

        Raises:
            TextkdError: no such kind of tap, no block number, or nothing before the slash.

        Example:
            >>> tap = Tap.parse("big/hidden:4")
            >>> tap.model, str(tap.address)
            ('big', 'hidden:4')
        """
        if isinstance(text, Tap):
            return text
        if isinstance(text, Address):
            return cls(text)
        model, slash, address = str(text).strip().partition("/")
        if not slash:
            return cls(Address.parse(model))
        if not model or "/" in address:
            raise fail(f'tap "{text}"', "not one model and one address", fix='as "big/hidden:4", or "hidden:4"')
        return cls(Address.parse(address), model)

    def of(self, model: str) -> Tap:
        """This tap, of another model.

        Args:
            model: its name.
        """
        return replace(self, model=model)

    def at(self, block: int | None) -> Tap:
        """This tap at another block.

        Args:
            block: 1..L, negative from the end; None leaves the block open.
        """
        return replace(self, address=replace(self.address, block=block))

    def __str__(self) -> str:
        return f"{self.model}/{self.address}" if self.model else str(self.address)
