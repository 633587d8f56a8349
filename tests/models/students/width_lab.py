"""Teachers whose heads, units and dimensions are masked, to hold narrower students against."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from tiny_teachers import batch_for
from torch import Tensor, nn

from textkd.models.students.importance import measure
from textkd.models.students.narrow import Kept, choose
from textkd.models.students.parts import blocks_of
from textkd.models.students.widths import sizes_of

FAMILIES = ("bert", "roberta", "distilbert", "electra", "vit", "deit")
WIDTHS: dict[str, dict[str, Any]] = {"ffn": {"ffn": 24}, "heads": {"heads": 1}, "hidden": {"hidden": 24, "ffn": 0.5}}


def labelled(model: Any) -> dict[str, Tensor]:
    batch = batch_for(model)
    return {**batch, "labels": torch.tensor([0, 2])}


def kept_of(model: Any, stack: Any, asked: Mapping[str, Any], side: str = "", by: str = "magnitude") -> Kept:
    examples = None if by == "magnitude" else [labelled(model)]
    scores = measure(model, {side: stack}, by, examples)[side]
    return choose(scores, sizes_of(stack, asked, side), range(len(scores.ffn)))


def only(kept: Tensor, size: int) -> Tensor:
    return torch.zeros(size).index_fill(0, kept, 1.0)


def masked(model: Any, stacks: Mapping[str, Kept]) -> Any:
    """A copy of a model in which all that is not kept says nothing: outputs of heads and units are zeros, norms look at
    what is kept, and what lies around the blocks neither reads nor writes the rest."""
    twin = copy.deepcopy(model)
    for side, kept in stacks.items():
        stack = getattr(twin, side) if side else twin
        hidden = stack.config.hidden_size
        stream = only(kept.hidden, hidden)
        for i, block in enumerate(blocks_of(stack)):
            mute(block.ffn[1], only(kept.ffn[i], block.ffn[1].in_features))
            for one, (met, values) in zip(block.attentions, kept.attentions[i], strict=True):
                mute(one.output, only(values, one.output.in_features))
                mask = only(met, one.query.out_features)
                one.query.register_forward_hook(lambda m, args, out, mask=mask: out * mask)
        for module in stack.modules():
            if isinstance(module, nn.LayerNorm) and module.normalized_shape == (hidden,):
                module.forward = norm_over(module, kept.hidden)  # type: ignore[method-assign]
        mute_around(stack, stream)
    if "encoder" in stacks:  # what the decoder reads of it
        stream = only(stacks["encoder"].hidden, twin.encoder.config.hidden_size)
        twin.encoder.register_forward_hook(lambda m, args, out: type(out)(last_hidden_state=out[0] * stream))
    if "decoder" in stacks and hasattr(twin, "enc_to_dec_proj"):  # as wide as the decoder
        link = only(stacks["decoder"].hidden, twin.decoder.config.hidden_size)
        twin.enc_to_dec_proj.register_forward_hook(lambda m, args, out: out * link)
    return twin


@torch.no_grad()
def mute_around(stack: Any, stream: Tensor) -> None:
    """Zeros along the stream in all weights around the blocks."""
    inside = {id(p) for block in blocks_of(stack) for p in block.module.parameters()}
    for weight in [p for p in stack.parameters() if id(p) not in inside]:
        for axis in [axis for axis in range(weight.dim()) if weight.shape[axis] == len(stream)]:
            weight *= stream.view(*[-1 if k == axis else 1 for k in range(weight.dim())])


def mute(layer: nn.Module, mask: Tensor) -> None:
    layer.register_forward_pre_hook(lambda m, args: (args[0] * mask,))


def norm_over(norm: Any, kept: Tensor) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        part = nn.functional.layer_norm(x[..., kept], (len(kept),), norm.weight[kept], norm.bias[kept], norm.eps)
        return torch.zeros_like(x).index_copy(-1, kept, part)

    return forward
