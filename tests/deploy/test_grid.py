"""A model under fake quantisation computes what onnxruntime computes on its int8 export, row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from test_to_onnx import MODELS, linear
from torch import nn

from textkd.models.onnx.graph import columns_of, write_graph
from textkd.models.onnx.int8 import quantise
from textkd.models.onnx.session import session
from textkd.models.transforms.quantised import quantised

SCALES = torch.tensor([1, 9, 0.1, 0, 1e-3])  # of the rows of a weight; one is 0 throughout
GIVEN = {
    "both signs": lambda x: x, "above 0": lambda x: x.abs() + 1, "below 0": lambda x: -x.abs() - 1,
    "nothing": lambda x: x * 0, "small": lambda x: x * 1e-6, "one far off": lambda x: torch.cat([x[:1] * 1e4, x[1:]]),
}  # fmt: skip


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Linear, Path]:
    folder, made = tmp_path_factory.mktemp("linear"), nn.Linear(24, 5)
    torch.manual_seed(0)
    made.weight.data = torch.randn(5, 24) * SCALES[:, None]
    quantise(linear(folder, made.weight.detach().T.numpy()), folder / "int8.onnx", "dynamic")
    return made, folder / "int8.onnx"


@pytest.mark.parametrize("what", GIVEN)
def test_a_linear_layer(layer: tuple[nn.Linear, Path], what: str) -> None:
    made, graph = layer
    x = GIVEN[what](torch.randn(7, 24, generator=torch.Generator().manual_seed(1)))
    (wanted,) = session(graph, 1).run(None, {"x": x.numpy()})
    with quantised([made]), torch.no_grad():
        said = (made(x) - made.bias).numpy()
    assert np.allclose(said, wanted, rtol=1e-5, atol=1e-6 * max(1e-9, np.abs(wanted).max()) + 1e-7)


@pytest.mark.parametrize("shift", [0, 5, -5], ids=["both signs", "above 0", "below 0"])
def test_a_table_of_embeddings(tmp_path: Path, shift: float) -> None:
    torch.manual_seed(0)
    table, ids = nn.Embedding(30, 8), torch.arange(30)[None]
    table.weight.data += shift
    node = helper.make_node("Gather", ["w", "ids"], ["y"])
    ends = [[helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 30])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 30, 8])]]  # fmt: skip
    made = helper.make_graph([node], "table", *ends, [numpy_helper.from_array(table.weight.detach().numpy(), "w")])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=9), tmp_path / "a.onnx")
    quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", "dynamic")
    (wanted,) = session(tmp_path / "b.onnx", 1).run(None, {"ids": ids.numpy()})
    with quantised([table]), torch.no_grad():
        assert np.allclose(table(ids).numpy(), wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_a_whole_model(tmp_path: Path, kind: str) -> None:
    """An activation that falls on the edge between two integers, about one row in 30, may be rounded the other way by
    another order of float sums: the median row says whether the grids are the same. A shorter proof is in
    tests/experiment/test_quantise.py."""
    torch.manual_seed(0)
    model, chance = MODELS[kind]().eval(), torch.Generator().manual_seed(0)
    write_graph(model, tmp_path / "a.onnx")
    quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", "dynamic")
    runtime, apart, plain = session(tmp_path / "b.onnx", 1), [], []
    for count in range(3, 23):
        ids = torch.randint(5, 21, (1, count), generator=chance)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        batch = {name: batch[name] for name in columns_of(model)}
        (wanted,) = runtime.run(None, {name: one.numpy() for name, one in batch.items()})
        with torch.no_grad():
            without = model(**batch).logits.numpy()
            with quantised([model]):
                said = model(**batch).logits.numpy()
        size = np.abs(wanted).max()
        apart.append(np.abs(said - wanted).max() / size)
        plain.append(np.abs(without - wanted).max() / size)
    assert np.median(apart) < 1e-5
    assert max(apart) < 0.05
    assert np.median(plain) > 1e-3
