"""A larger network from a smaller one that computes the same (Net2Net, Chen et al. 2016, arXiv:1511.05641)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from textkd.errors import fail


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
