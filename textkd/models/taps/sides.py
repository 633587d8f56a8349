"""Encoder-decoders: two stacks of blocks in one model, each an anatomy of its own."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from textkd.errors import TextkdError, fail
from textkd.models.architectures import PLANS, SIDED, Plan
from textkd.models.taps.address import HEAD_KINDS, Address
from textkd.models.taps.anatomy import Anatomy


class EncoderDecoder(Anatomy):
    """The parts of a model with an encoder and a decoder. Made by `anatomy`.

    `num_blocks` counts both sides; `num_heads` and `hidden_size` are the decoder's, which the logits are made from. Ask
    ``sides["encoder"]`` for the encoder's, and `size` for a line of a report.

    Args:
        model: the unwrapped model.

    Attributes:
        sides: {"encoder": Anatomy, "decoder": Anatomy}, whose addresses carry their side.

    Example:
        >>> from textkd import new_ocr_model
        >>> ids = {"vocab_size": 20, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
        >>> EncoderDecoder(new_ocr_model(sizes, {"d_model": 16, "decoder_layers": 2}, ids)).size
        '1x16 + 2x16'
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.base = model
        self.sides = {side: Anatomy(getattr(model, side), side) for side in SIDED[self.model_type]}

    @property
    def num_blocks(self) -> int:
        """The number of blocks a forward runs through, on both sides."""
        return sum(part.num_blocks for part in self.sides.values())

    @property
    def num_heads(self) -> int:
        """Attention heads per block of the decoder."""
        return self.sides["decoder"].num_heads

    @property
    def hidden_size(self) -> int:
        """Width of the decoder's hidden states."""
        return self.sides["decoder"].hidden_size

    @property
    def size(self) -> str:
        """Blocks and width of encoder and decoder: "12x384 + 6x256"."""
        return " + ".join(part.size for part in self.sides.values())

    def on(self, address: Address | str) -> Anatomy:
        """The side that `address` (with or without its block) names. Raises `TextkdError` for an address without."""
        address = Address.parse(address)
        if address.side:
            return self.sides[address.side]
        if address.kind in (*HEAD_KINDS, "module"):
            return self
        offered = {Address.parse(name).side for part in self.sides.values() for name in part.addresses()
                   if Address.parse(name).kind == address.kind}  # fmt: skip
        both = [f'"{replace(address, side=side)}"' for side in self.sides if side in offered or not offered]
        raise fail(
            f'tap "{address}"',
            f"{type(self.model).__name__} has two sides, encoder and decoder",
            fix=" or ".join(both),
        )

    def part(self, kind: str, block: int) -> nn.Module:
        """There is none without a side: ask `on(address)`. Raises `TextkdError`."""
        return self.on(Address(kind, block)).part(kind, block)

    def addresses(self) -> list[str]:
        """Every address of both sides, `module:` ones left out."""
        return super().addresses() + [address for part in self.sides.values() for address in part.addresses()]

    def resolve(self, address: Address | str) -> Address:
        """`address` with a block counted from the front; ``decoder.logits`` is ``logits``. Raises `TextkdError`."""
        address = Address.parse(address)
        if address.kind == "module" and address.side:
            path = f"module:{address.side}.{address.path}{'@input' if address.at_input else ''}"
            raise fail(f'tap "{address}"', "module paths begin at the whole model and have no side", fix=f'"{path}"')
        if address.kind in HEAD_KINDS:
            if address.side == "encoder":
                raise fail(f'tap "{address}"', "the encoder makes no logits", fix=f'"{address.kind}"')
            address = replace(address, side="")
        found = self.on(address)
        return super().resolve(address) if found is self else found.resolve(address)

    def _fitting(self) -> dict[str, Plan]:
        return {}


def anatomy(model: nn.Module) -> Anatomy:
    """Finds the parts of a model.

    Args:
        model: unwrapped, with any head class of the architectures in `PLANS`, or an encoder-decoder made of two of
            them.

    Returns:
        The parts; an `EncoderDecoder` of a model with two sides.

    Raises:
        TextkdError: a wrapped model (DDP), or a model class whose blocks are not where transformers has them.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> anatomy(BertModel(BertConfig(num_hidden_layers=4, **sizes))).num_blocks
        4
    """
    if hasattr(model, "module") and not hasattr(model, "config"):
        raise fail(f"the parts of {type(model).__name__}", "a wrapped model", fix="give the model inside the wrapper")
    sided = getattr(getattr(model, "config", None), "model_type", None) in SIDED
    try:
        return EncoderDecoder(model) if sided else Anatomy(model)
    except AttributeError as error:
        raise _not_as_planned(model, error) from error


def _not_as_planned(model: nn.Module, error: AttributeError) -> TextkdError:
    return fail(
        f"the blocks of {type(model).__name__}",
        str(error),
        fix=f"model classes of {', '.join(PLANS)} in transformers' own code",
    )
