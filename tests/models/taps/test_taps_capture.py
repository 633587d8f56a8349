"""A capture changes nothing that it does not say, and never loses a tap in silence."""

import contextlib
import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from textkd.errors import TextkdError
from textkd.models.taps import Capture, anatomy
from textkd.models.taps.attention import NAME, tapped_attention

EVERYTHING = ["logits", "hidden:0", "hidden:2", "ffn:2", "embeddings", "attention:2", "scores:3", "value:1"]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@contextlib.contextmanager
def counted(name, function):
    calls = []

    def counting(module, *args, **kwargs):
        calls.append(module)
        return function(module, *args, **kwargs)

    AttentionInterface.register(name, counting)
    try:
        yield calls
    finally:
        AttentionInterface.register(name, function)


def test_outside_of_active_nothing_changes(architecture, tiny, inputs, tmp_path):
    model = tiny(architecture)
    batch = inputs(model)
    with torch.no_grad():
        before = model(**batch).logits
    model.save_pretrained(tmp_path / "before")  # writes architectures and dtype into the config itself
    config = copy.deepcopy(model.config.to_dict())
    modules = {name: getattr(module, "config", None) for name, module in model.named_modules()}
    capture = Capture(model, EVERYTHING, stop_early=True)
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, before)
        capture.run(model, **batch)
        with counted(NAME, tapped_attention) as calls:
            after = model(**batch)
    assert not calls
    assert type(after).__name__.endswith("Output")
    assert torch.equal(after.logits, before)
    assert not any(m.training for m in model.modules())
    assert model.config.to_dict() == config
    assert all(getattr(m, "config", None) is modules[n] for n, m in model.named_modules())
    model.save_pretrained(tmp_path / "after")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "before" / file).read_bytes() == (tmp_path / "after" / file).read_bytes()


def test_remove_takes_every_hook_off(architecture, tiny, inputs):
    model = tiny(architecture)
    before = hooks(model)
    capture = Capture(model, EVERYTHING)
    assert hooks(model) > before
    capture.remove()
    assert hooks(model) == before
    with pytest.raises(TextkdError, match="removed"):
        capture.run(model, **inputs(model))


def test_only_tapped_blocks_leave_sdpa(architecture, tiny, inputs):
    model = tiny(architecture)
    capture = Capture(model, ["attention:2", "scores:2"])
    with (
        counted(NAME, tapped_attention) as tapped,
        counted("sdpa", ALL_ATTENTION_FUNCTIONS["sdpa"]) as native,
        torch.no_grad(),
    ):
        capture.run(model, **inputs(model))
    assert [id(module) for module in tapped] == [id(anatomy(model).part("attention", 2))]
    assert len(native) == 2


def test_queries_and_values_alone_keep_the_sdpa_kernel(architecture, tiny, inputs):
    model = tiny(architecture)
    capture = Capture(model, ["query:1", "key:2", "value:3"])
    with counted("sdpa", ALL_ATTENTION_FUNCTIONS["sdpa"]) as native, torch.no_grad():
        taps = capture.run(model, **inputs(model))["taps"]
    assert len(native) == 3
    assert taps["key:2"].shape[1:2] == (2,)


def test_probabilities_are_recorded_before_dropout(architecture, tiny, inputs):
    model = tiny(architecture)
    batch = inputs(model)
    capture = Capture(model, ["attention:1", "hidden:1"])
    with torch.no_grad():
        still = capture.run(model, **batch)["taps"]
        for module in model.modules():
            module.training = isinstance(module, type(anatomy(model).part("attention", 1)))
        attention_only = capture.run(model, **batch)["taps"]
    maps = attention_only["attention:1"]
    assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]), rtol=0, atol=1e-5)
    assert_close(maps, still["attention:1"], rtol=0, atol=1e-5)
    assert (attention_only["hidden:1"] - still["hidden:1"]).abs().max() > 1e-3, "the output uses the dropped maps"


def test_training_on_taps_gives_the_gradients_of_the_eager_model(architecture, tiny, on_eager, inputs):
    model = tiny(architecture)
    plain, batch = on_eager(model), inputs(model)
    capture = Capture(model, ["attention:2", "hidden:2"])
    taps = capture.run(model, **batch)["taps"]
    (taps["attention:2"].square().mean() + taps["hidden:2"].square().mean()).backward()
    out = plain(**batch, output_attentions=True, output_hidden_states=True)
    (out.attentions[1].square().mean() + out.hidden_states[2].square().mean()).backward()
    compared = 0
    for (name, a), b in zip(model.named_parameters(), plain.parameters(), strict=True):
        if b.grad is not None:
            assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5, msg=name)
            compared += b.grad.abs().max() > 0
    assert compared > 10
