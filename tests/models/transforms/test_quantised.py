"""Fake quantisation: gradients pass through rounding, a row of a batch computes as it does alone, all is taken back.
That the grid is onnxruntime's is tested in tests/deploy/test_grid.py."""

from __future__ import annotations

import pytest
import torch
from ocr_lab import make_reader
from tiny_lab import make_teacher
from torch import nn

from textkd.models.transforms.quantised import QuantisedLinear, finish, grid_of, prepare, problems, quantised


def test_gradients_are_those_at_the_rounded_values() -> None:
    torch.manual_seed(0)
    layer, x, g = nn.Linear(6, 3), torch.randn(4, 6, requires_grad=True), torch.randn(4, 3)
    with quantised([layer]):
        y = layer(x)
        y.backward(g)
    scale, low, high = grid_of(x)
    given = torch.round(x / scale).clamp(low, high).mul(scale).detach()
    step = layer.weight.detach().abs().amax(1, keepdim=True) / 127
    weight = torch.round(layer.weight / step).mul(step).detach()
    assert torch.allclose(y, given @ weight.T + layer.bias, atol=1e-6)
    assert not torch.allclose(y, layer(x), atol=1e-4)
    assert torch.allclose(layer.weight.grad, g.T @ given, atol=1e-6)
    assert torch.allclose(x.grad, g @ weight, atol=1e-6)
    assert torch.allclose(layer.bias.grad, g.sum(0))


def test_gradients_of_a_table_go_to_the_rows_that_are_read() -> None:
    table = nn.Embedding(5, 3, padding_idx=0)
    with quantised([table]):
        table(torch.tensor([[1, 3, 0], [1, 2, 0]])).sum().backward()
    assert torch.allclose(table.weight.grad, torch.tensor([0.0, 2, 1, 1, 0])[:, None].expand(5, 3))


def test_a_row_of_a_batch_answers_as_it_does_alone() -> None:
    model, ids = make_teacher(2), torch.randint(5, 20, (4, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row, count in enumerate((9, 4, 6, 1)):
        mask[row, count:] = 0
    with torch.no_grad():
        plain = model(input_ids=ids, attention_mask=mask).logits
        with quantised([model]):
            together = model(input_ids=ids, attention_mask=mask).logits
            alone = [model(input_ids=ids[i : i + 1, :n], attention_mask=mask[i : i + 1, :n]).logits
                     for i, n in enumerate(mask.sum(1))]  # fmt: skip
        assert torch.allclose(together, torch.cat(alone), atol=1e-5)
        assert (together - plain).abs().max() > 1e-3
        assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, plain)


def test_integers_are_exact_in_bf16_too() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 8), torch.randn(5, 64)
    with quantised([layer]), torch.autocast("cpu", torch.bfloat16):
        said = layer(x)
    with quantised([layer]):
        wanted = layer(x)
    assert said.dtype == torch.bfloat16
    assert torch.allclose(said.float(), wanted, rtol=2**-7, atol=2**-8 * float(wanted.detach().abs().max()))


def test_weights_and_their_names_stay_and_all_is_taken_back() -> None:
    model = make_teacher(1)
    model.textkd_projections = nn.ModuleDict({"a": nn.Linear(2, 2)})
    kinds, before = [type(one) for one in model.modules()], dict(model.named_parameters())
    names = prepare(model)
    assert {*names} == {name for name, one in model.named_modules() if isinstance(one, nn.Linear | nn.Embedding)} - {
        "textkd_projections.a"
    }
    assert all(one is before[name] for name, one in model.named_parameters())
    assert type(model.classifier) is QuantisedLinear
    finish(model)
    assert [type(one) for one in model.modules()] == kinds
    assert not model._forward_pre_hooks
    with pytest.raises(ZeroDivisionError), quantised([model]):
        raise ZeroDivisionError
    assert [type(one) for one in model.modules()] == kinds


def test_models_that_are_not_exported_are_refused() -> None:
    assert problems(make_teacher(1)) == []
    assert "no int8 export" in problems(make_reader())[0].found


@pytest.mark.slow
def test_a_compiled_model_is_on_the_same_grid() -> None:
    model, ids = make_teacher(1), torch.randint(5, 20, (3, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    with quantised([model]):
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        for one in (mask, mask.roll(1, 0)):
            wanted = model(input_ids=ids, attention_mask=one).logits
            assert torch.equal(compiled(input_ids=ids, attention_mask=one).logits, wanted)
    torch._dynamo.reset()
