"""A larger network from a smaller one that computes the same (Net2Net, Chen et al. 2016, arXiv:1511.05641)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from textkd.errors import Collector, fail
from textkd.models.students.copying import is_two_sided
from textkd.models.students.deeper import deeper as with_more_blocks
from textkd.models.students.growth import grow_problems, grown_sizes, known_problems, places_of, sides_problems
from textkd.models.students.wider import wider as with_wider_blocks
from textkd.models.students.widths import SIDES, Sizes, have


def grow(
    model: PreTrainedModel,
    *,
    wider: Mapping[str, int] | None = None,
    deeper: Mapping[str, Any] | None = None,
    noise: float | None = 0.0,
) -> PreTrainedModel:
    """A larger model of the same class that computes the same, to 1e-6 in float32; its new weights can learn.

    First it becomes deeper, then wider; see `textkd.models.students.deeper` and `textkd.models.students.wider` for how.

    Args:
        model: what grows: BERT, RoBERTa, XLM-RoBERTa, DistilBERT, ELECTRA, ViT or DeiT, or a
            `VisionEncoderDecoderModel` of these and a TrOCR decoder. It is not changed.
        wider: ffn (feed-forward units of each block), hidden (a multiple of what it is), heads (with hidden, which has
            room for them; alone, hidden follows); of two sides encoder_ffn, decoder_hidden and so on.
        deeper: {"after": [3, 3]}: new blocks behind these, 0 for the embeddings, negative from the end, a number twice
            for two blocks; of two sides encoder_after, decoder_after. "nearly": True takes blocks that are off by 1e-6
            to 1e-4, of models whose norms have an eps of 1e-5 (RoBERTa, TrOCR decoders).
        noise: what parts copies from each other, in standard deviations of the weights; with 0 the function is kept,
            and dropout must part them.

    Returns:
        A model in eval mode that loads with a plain `from_pretrained`, like `shrink`'s.

    Raises:
        TextkdError: with everything that would be narrower, cannot be exact, or is no block of this model.

    Source:
        Net2Net, Chen et al. 2016, arXiv:1511.05641. There a new layer is the identity between ReLUs; here it is a block
        that adds zeros to the stream.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = BertModel(BertConfig(num_hidden_layers=2, **sizes)).eval()
        >>> grown, ids = grow(model, wider={"ffn": 24}, deeper={"after": [1, 2]}), torch.tensor([[1, 2, 3]])
        >>> grown.config.num_hidden_layers, torch.allclose(grown(ids)[0], model(ids)[0], atol=1e-6)
        (4, True)
    """
    block: dict[str, Any] = {"wider": wider, "deeper": deeper, "noise": noise}
    block = {key: value for key, value in block.items() if value is not None}
    wrong = Collector()
    wrong.add(*grow_problems(block))
    wrong.raise_any()
    two = is_two_sided(model)
    wrong.add(*sides_problems(block, type(model).__name__, two))
    wrong.raise_any()
    stacks: dict[str, Any] = {side: getattr(model, side) for side in SIDES} if two else {"": model}
    sizes, places = dict[str, Sizes](), dict[str, list[int]]()
    for side, stack in stacks.items():
        asked = [f"{kind}.{key}" for kind in ("wider", "deeper") for key in block.get(kind, {}) if key.startswith(side)]
        if unknown := [one for key in asked[:1] for one in known_problems(stack, key)]:
            wrong.add(*unknown)
            continue
        with wrong.collecting():
            sizes[side] = grown_sizes(stack, wider or {}, side)
        with wrong.collecting():
            places[side] = places_of(stack, deeper or {}, side)
    wrong.raise_any()
    places = {side: after for side, after in places.items() if after}
    sizes = {side: one for side, one in sizes.items() if one != have(stacks[side].config)}
    grown = model
    if places:
        grown = with_more_blocks(grown, places, bool((deeper or {}).get("nearly")))
    return with_wider_blocks(grown, sizes, float(noise or 0.0)) if sizes else grown


def random_copies(width: int, new_width: int, generator: torch.Generator | None = None) -> list[int]:
    """Which units of a layer the new ones copy, drawn at random.

    Args:
        width: units of the layer.
        new_width: units that it shall have.
        generator: draws; None: torch's own.

    Returns:
        For each of the `new_width - width` new units the number of the one that it copies, from 0.

    Raises:
        TextkdError: the layer would become narrower.

    Example:
        >>> len(random_copies(4, 6)), max(random_copies(4, 6)) < 4
        (2, True)
    """
    if new_width < width:
        raise fail(f"a layer of {new_width} units", f"it has {width}", fix=f"Net2Net grows: {width} or more")
    return torch.randint(width, (new_width - width,), generator=generator).tolist()


@torch.no_grad()
def widen(
    first: nn.Linear,
    second: nn.Linear,
    copies: Sequence[int],
    *,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> tuple[nn.Linear, nn.Linear]:
    """Two layers with more units between them: second(f(first(x))) stays the same for every elementwise f.

    A unit and its copies share its outgoing weights evenly.

    Args:
        first: [H_in -> H].
        second: [H -> H_out]; it reads what the first one makes.
        copies: for each unit that is added (at the end), which one it copies; see `random_copies`.
        noise: standard deviation, relative to that of the weights, of what is added to the copies' incoming weights, so
            that they do not stay alike; 0 keeps the function exactly.
        generator: draws the noise.

    Returns:
        Two new layers, in the type and on the device of the given ones.

    Raises:
        TextkdError: the layers do not follow each other, or a copy of a unit that is not there.

    Example:
        >>> first, second, x = nn.Linear(3, 4), nn.Linear(4, 2), torch.ones(1, 3)
        >>> wider, after = widen(first, second, [0, 3])
        >>> wider.out_features, torch.allclose(after(wider(x).relu()), second(first(x).relu()), atol=1e-6)
        (6, True)
    """
    width = first.out_features
    if second.in_features != width:
        fix = "give two layers of which the second reads the first"
        raise fail("two layers that follow each other", f"{width} units out, {second.in_features} in", fix=fix)
    if any(not 0 <= unit < width for unit in copies):
        raise fail(f"copies of the units {list(copies)}", f"the layer has the units 0 to {width - 1}")
    sources = torch.tensor([*range(width), *copies], device=first.weight.device)
    shares = 1.0 / torch.bincount(sources, minlength=width).to(second.weight.dtype)
    incoming = first.weight[sources].clone()
    if noise > 0:
        drawn = torch.randn(incoming[width:].shape, generator=generator).to(incoming)
        incoming[width:] += noise * first.weight.std() * drawn
    bias = None if first.bias is None else first.bias[sources]
    return _linear(incoming, bias), _linear((second.weight * shares)[:, sources], second.bias)


@torch.no_grad()
def deepen(layer: nn.Linear) -> nn.Linear:
    """A layer to put behind another one that changes nothing: the identity, with a bias of zeros.

    Exact where the function between the two may be applied twice (ReLU; not GELU or tanh) or there is none.

    Args:
        layer: the one before it.

    Returns:
        A new layer as wide as the output of `layer`, in its type and on its device.

    Example:
        >>> layer, x = nn.Linear(3, 4), torch.ones(1, 3)
        >>> torch.equal(deepen(layer)(layer(x).relu()).relu(), layer(x).relu())
        True
    """
    identity = torch.eye(layer.out_features, dtype=layer.weight.dtype, device=layer.weight.device)
    return _linear(identity, torch.zeros_like(identity[0]))


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device=weight.device, dtype=weight.dtype)
    made.weight.copy_(weight)
    if bias is not None:
        made.bias.copy_(bias)
    return made
