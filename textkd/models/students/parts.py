"""Where the heads and feed-forward units of a model lie, as its `Plan` names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from textkd.errors import fail
from textkd.models.architectures import PLANS


@dataclass(frozen=True)
class Attention:
    """The linear layers of an attention, and its number of heads."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    heads: int


@dataclass(frozen=True)
class Block:
    """A block with the linear layers of what may become narrower. ffn: the layers before and behind the activation."""

    module: nn.Module
    attentions: tuple[Attention, ...]
    ffn: tuple[nn.Linear, nn.Linear]

    @property
    def linears(self) -> list[nn.Linear]:
        """All of them."""
        four = [(one.query, one.key, one.value, one.output) for one in self.attentions]
        return [*(layer for each in four for layer in each), *self.ffn]


def blocks_of(model: Any) -> list[Block]:
    """The blocks of a model of one stack, or of a side of an encoder-decoder, whose `Plan` names their layers. Raises
    `TextkdError` where these are no plain linear ones."""
    plan, heads = PLANS[model.config.model_type], int(model.config.num_attention_heads)
    found = list[Block]()
    for module in plan.blocks(model.base_model):
        layers: Callable[[str], Any] = module.get_submodule
        attentions = tuple(_attention([layers(name) for name in names], heads) for names in plan.attentions)
        found.append(Block(module, attentions, (layers(plan.ffn), layers(plan.ffn_out))))
    for one in (layer for block in found for layer in block.linears):
        if not isinstance(one, nn.Linear):
            what = f"its layers are {type(one).__name__} in place of linear ones: nobody knows which parts of these "
            fix = "take heads, units or dimensions from the model that it was made of, and replace the layers then"
            raise fail(f"a narrower {type(model).__name__}", f"{what}matter most", fix=fix)
    return found


def readers(blocks: list[Block]) -> list[Tensor]:
    """[H] each: the squared weights by which the blocks read the dimensions of their own stream; cross-attention takes
    its keys and values from another one."""
    found = list[nn.Linear]()
    for block in blocks:
        own, *cross = block.attentions
        found += [own.query, own.key, own.value, *(one.query for one in cross), block.ffn[0]]
    return [squares_out(layer) for layer in found]


def _attention(layers: list[Any], heads: int) -> Attention:
    query, key, value, output = layers
    return Attention(query, key, value, output, heads)


def squares_in(layer: nn.Linear) -> Tensor:
    """[U_out] the squared weights, with the bias, that lead into each unit of a layer."""
    squares = layer.weight.detach().double().square().sum(1)
    return (squares if layer.bias is None else squares + layer.bias.detach().double().square()).cpu()


def squares_out(layer: nn.Linear) -> Tensor:
    """[U_in] the squared weights of a layer that lead out of each of its inputs."""
    return layer.weight.detach().double().square().sum(0).cpu()
