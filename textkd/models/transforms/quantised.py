"""A model that computes on the int8 grid of its later ONNX export while its float weights learn (fake quantisation).

The grid is that of `textkd export --format onnx --int8 dynamic` (`textkd.models.onnx.int8`), as onnxruntime computes on
it:

- linear layers: weights int8 for each output channel, absmax / 127, zero point 0; what comes in uint8, its range with 0
  in it cut into 255 steps, taken from each row alone, without its padding: so a server answers that is asked for one
  text at a time. Products of integers are summed exactly, then scaled, then the bias is added in float;
- embeddings: uint8, one range with 0 in it for the whole table, on which a linear layer right behind it reads them;
- all else (attention's own products, norms, softmax, activations) in float.

Rounding passes gradients through as if it were not there (a straight-through estimator); nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from textkd.errors import Problem, problem
from textkd.models.own.pieces import WordTable

BITS = 8  # of weights and of activations: what onnxruntime computes with
ROWS, HOOK, TABLE = "_textkd_rows", "_textkd_hook", "_textkd_table"  # attributes while a model is on the grid
OWN_PARTS = "textkd_"  # what a training adds to a model (projections) begins so: it is not exported


class _Rows:
    """The mask of the batch that a model is run on, for its layers."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None  # [B, T]

    def see(self, model: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Before a forward."""
        mask = kwargs.get("attention_mask")
        self.mask = mask if isinstance(mask, Tensor) and mask.ndim == 2 else None


class QuantisedLinear(nn.Linear):
    """A linear layer on the grid. `prepare` makes it of an `nn.Linear`, whose parameters it keeps."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        rows: _Rows = self.__dict__[ROWS]
        table = self.__dict__.get(TABLE)
        scale, low, high = grid_of(input, rows.mask) if table is None else grid_of(table[0].weight)
        weight = self.weight.float()
        step = _steps(weight.detach().abs().amax(1), 127)  # [out]
        whole = functional.linear(_to_grid(input.float(), scale, low, high), _to_grid(weight, step[:, None]))
        made = whole.float() * (scale * step)
        made = made if self.bias is None else made + self.bias.float()
        return made.to(whole.dtype)


class QuantisedEmbedding(nn.Embedding):
    """A table of embeddings on the grid. `prepare` makes it of an `nn.Embedding`, whose parameters it keeps."""

    def forward(self, input: Tensor) -> Tensor:
        """[...] ids -> [..., width]."""
        low, high = (end.float() for end in self.weight.detach().aminmax())
        scale, zero = _range(low, high)
        rows = _to_grid(super().forward(input).float(), scale, -zero, 255 - zero)
        return rows.mul(scale).to(self.weight.dtype)


KINDS: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: QuantisedLinear, nn.Embedding: QuantisedEmbedding}


class _ToGrid(torch.autograd.Function):
    """round(x / scale), cut at `low` and `high` where these are given; the gradient is that of x / scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(scale)
        whole = torch.round(x / scale)
        return whole if low is None or high is None else torch.minimum(torch.maximum(whole, low), high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (scale,) = ctx.saved_tensors
        return gradient / scale, None, None, None


def _to_grid(x: Tensor, scale: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    whole: Tensor = _ToGrid.apply(x, scale, low, high)  # type: ignore[no-untyped-call]
    return whole


def grid_of(x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The grid of what comes into a layer: (scale, lowest integer, highest integer), of shapes that fit beside `x`.

    Args:
        x: [B, T, H] or [B, H], where B is that of the mask: each row has a grid of its own. Else [..., H]: one grid.
        mask: [B, T], 1 where a position counts; None: there is one grid.

    Example:
        >>> scale, low, high = grid_of(torch.tensor([[-0.5, 1.0]]))
        >>> [round(float(one), 4) for one in (scale, low, high)]
        [0.0059, -85.0, 170.0]
    """
    x = x.detach().float()
    if mask is None or x.ndim < 2 or len(x) != len(mask):
        low, high = x.aminmax()
    else:
        if x.shape[:2] == mask.shape and x.ndim > 2:
            x = x.masked_fill(~mask.bool().reshape(*mask.shape, *[1] * (x.ndim - 2)), 0.0)  # 0 is in each range
        own = tuple(range(1, x.ndim))
        low, high = x.amin(own, keepdim=True), x.amax(own, keepdim=True)
    scale, zero = _range(low, high)
    return scale, -zero, 255 - zero


def _range(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """(scale, zero point) of 255 steps from `low` to `high`, 0 among them."""
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = _steps(high - low, 255)
    return scale, torch.round((-low / scale).clamp(0, 255))


def _steps(length: Tensor, count: int) -> Tensor:
    """The length of a step; 1 where there is nothing to be cut."""
    scale = length / count
    return torch.where(scale < torch.finfo(torch.float32).tiny, 1.0, scale)


def prepare(model: nn.Module) -> list[str]:
    """Lets the linear layers and embeddings of a model compute on the grid. Parameters and their names stay.

    Args:
        model: changed in place.

    Returns:
        The names of the layers. `finish` takes it back.

    Example:
        >>> model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))
        >>> before = model.state_dict().keys()
        >>> prepare(model), model.state_dict().keys() == before
        (['0', '1'], True)
        >>> finish(model)
    """
    rows, found = _Rows(), list[str]()
    for name, module in _layers(model, KINDS):
        module.__class__ = KINDS[type(module)]
        module.__dict__[ROWS] = rows
        found.append(name)
    for module in model.modules():
        if isinstance(module, WordTable):
            module.up.__dict__[TABLE] = (module.table,)
    model.__dict__[HOOK] = model.register_forward_pre_hook(rows.see, with_kwargs=True)
    return found


def finish(model: nn.Module) -> None:
    """Lets a model compute in float again.

    Args:
        model: that `prepare` changed.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> _ = prepare(model)
        >>> finish(model)
        >>> type(model) is nn.Linear
        True
    """
    back = {new: plain for plain, new in KINDS.items()}
    model.__dict__.pop(HOOK).remove()
    for _, module in _layers(model, back):
        module.__class__ = back[type(module)]
        module.__dict__.pop(ROWS, None)
        module.__dict__.pop(TABLE, None)


@contextmanager
def quantised(models: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, these models compute on the grid.

    Args:
        models: each is changed and changed back.

    Example:
        >>> model = nn.Linear(4, 2)
        >>> with quantised([model]):
        ...     type(model).__name__
        'QuantisedLinear'
    """
    done = list[nn.Module]()
    try:
        for model in models:
            prepare(model)
            done.append(model)
        yield
    finally:
        for model in done:
            finish(model)


def problems(model: Any) -> list[Problem]:
    """Why a model cannot learn on the grid; empty where it can.

    Args:
        model: an encoder with a head.

    Example:
        >>> problems(nn.Linear(4, 2))
        []
        >>> problems(nn.LayerNorm(4))[0].found
        'none of its layers is a torch.nn.Linear'
    """
    asked, config = f"{type(model).__name__} on the int8 grid", getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False) or getattr(model, "main_input_name", "input_ids") != "input_ids":
        what = "there is no int8 export of it: encoders of texts are exported"
        return [problem(asked, what, fix="leave quantise out")]
    if any(isinstance(module, nn.LSTM) for module in model.modules()):
        what = "int8 weights of an LSTM are on a grid of onnxruntime's own, which no training computes on"
        return [problem(asked, what, fix="leave quantise out; int8: dynamic exports it all the same")]
    layers = [module for _, module in _layers(model, KINDS)]
    if not any(type(module) is nn.Linear for module in layers):
        fix = "leave quantise out, or take a student of another architecture"
        return [problem(asked, "none of its layers is a torch.nn.Linear", fix=fix)]
    return []


def _layers(model: nn.Module, kinds: Mapping[type[nn.Module], Any]) -> list[tuple[str, nn.Module]]:
    """The layers of these very classes, but those that a training has added; a layer of several names once."""
    named = list(model.named_modules())
    return [(name, one) for name, one in named if type(one) in kinds and not name.startswith(OWN_PARTS)]
