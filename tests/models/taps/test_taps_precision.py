"""Taps in bf16, under autocast, and where masks are minus infinity."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from textkd.models.taps import Capture
from textkd.models.taps.attention import tapped_attention

EVERYTHING = ["logits", "hidden:0", "hidden:2", "ffn:2", "embeddings", "attention:2", "scores:3", "value:1"]


@pytest.mark.parametrize("where", ["around", "inside"])
def test_bf16_autocast(where, unlike, tiny, inputs):
    """Accelerate wraps `forward` in autocast, so hooks stand outside of it: projections must still fit."""
    model = tiny(unlike).train()
    model.adapter = nn.Linear(16, 20)
    batch = inputs(model)
    capture = Capture(model, ["attention:2", "query:2", "logits"], projections={"p": ("hidden:2", model.adapter)})
    if where == "inside":
        model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
        taps = capture.run(model, **batch)["taps"]
    else:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            taps = capture.run(model, **batch)["taps"]
    assert taps["query:2"].dtype == torch.bfloat16
    assert taps["attention:2"].dtype == torch.float32, "bf16 probabilities would not sum to one"
    maps = taps["attention:2"]
    assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]), rtol=0, atol=1e-5)
    sum(tap.float().square().mean() for tap in taps.values()).backward()
    assert torch.isfinite(model.adapter.weight.grad).all()


def test_a_model_in_bf16_gives_taps(architecture, tiny, inputs):
    model = tiny(architecture).to(torch.bfloat16)
    batch = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in inputs(model).items()}
    with torch.no_grad():
        plain = model(**batch).logits
        taps = Capture(model, ["attention:2", "logits"]).run(model, **batch)["taps"]
    assert taps["logits"].dtype == torch.bfloat16
    assert_close(taps["logits"].float(), plain.float(), rtol=0.05, atol=0.1)


def test_a_float_mask_with_minus_infinity_gives_no_nan():
    module = nn.Module().eval()
    query, key, value = torch.randn(3, 1, 2, 4, 8).requires_grad_()
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1, :] = float("-inf")
    out, maps = tapped_attention(module, query, key, value, mask)
    assert torch.isfinite(out).all()
    assert_close(maps.sum(-1), torch.ones(1, 2, 4))
