"""LSTMs in an ONNX graph: torch's exporter would trace their steps one by one, for one length alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from textkd.errors import fail


class LstmNode(nn.Module):
    """ONNX's own LSTM in the place of one of torch, while a graph is written.

    Args:
        lstm: of one layer and one direction, batch first.

    Raises:
        TextkdError: of another kind.
    """

    inputs: Tensor
    states: Tensor
    biases: Tensor

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        if lstm.num_layers != 1 or lstm.bidirectional or not lstm.batch_first or lstm.proj_size or not lstm.bias:
            what = "LSTMs of one layer and one direction, batch first and with a bias, are exported"
            raise fail("an LSTM as an ONNX graph", what, fix="export as a plain folder (without --format onnx)")
        self.units = lstm.hidden_size
        own = {name: _ordered(weight) for name, weight in lstm.named_parameters()}
        self.register_buffer("inputs", own["weight_ih_l0"][None])
        self.register_buffer("states", own["weight_hh_l0"][None])
        self.register_buffer("biases", torch.cat([own["bias_ih_l0"], own["bias_hh_l0"]])[None])

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        """[B, T, width] to [B, T, units]; the last states are not given."""
        rows, length = values.shape[:2]
        last = (1, rows, self.units)
        hidden, _, _ = torch.onnx.ops.symbolic_multi_out(
            "LSTM", [values.transpose(0, 1), self.inputs, self.states, self.biases], {"hidden_size": self.units},
            dtypes=[values.dtype] * 3, shapes=[(length, *last), last, last], version=14,
        )  # fmt: skip
        return hidden.squeeze(1).transpose(0, 1), None


@contextmanager
def lstms_of_onnx(model: nn.Module) -> Iterator[None]:
    """Inside, the LSTMs of a model are those of ONNX: it can be exported, and not run.

    Args:
        model: it is changed and changed back.

    Raises:
        TextkdError: an LSTM that is not exported.

    Example:
        >>> model = nn.Sequential(nn.LSTM(2, 3, batch_first=True))
        >>> with lstms_of_onnx(model):
        ...     type(model[0]).__name__
        'LstmNode'
        >>> type(model[0]).__name__
        'LSTM'
    """
    places = [(module, name, part) for module in model.modules() for name, part in module.named_children()
              if isinstance(part, nn.LSTM)]  # fmt: skip
    nodes = [LstmNode(part) for _, _, part in places]
    try:
        for (module, name, _), node in zip(places, nodes, strict=True):
            setattr(module, name, node)
        yield
    finally:
        for module, name, part in places:
            setattr(module, name, part)


def _ordered(weight: Tensor) -> Tensor:
    """Gates in ONNX's order; torch has input, forget, cell, output, ONNX input, output, forget, cell."""
    inputs, forget, cell, output = weight.detach().chunk(4)
    return torch.cat([inputs, output, forget, cell])
