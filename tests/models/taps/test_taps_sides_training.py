"""Tapping both sides of an encoder-decoder changes neither outputs nor gradients, and loses no gradient."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from textkd.errors import TextkdError
from textkd.models.taps import Capture, anatomy
from textkd.models.taps.recorder import Silent

INNER = ("attention", "scores", "query", "key", "value")
DECODER = [f"decoder.{cross}{kind}:{k}" for cross in ("", "cross_") for kind in INNER for k in (1, 2)]
DECODER += ["decoder.embeddings", *(f"decoder.hidden:{k}" for k in range(3)), "decoder.ffn:1", "decoder.ffn:2"]
ENCODER = ["encoder.hidden:1", "encoder.attention:2", "encoder.scores:3", "encoder.query:1", "encoder.ffn:3"]


def checkpoint_activations(model, reentrant):
    """transformers calls it by another name since 5.21."""
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": reentrant})


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters()}


def same(one, other, **tolerance):
    assert sum(g is not None for g in one.values()) > 20
    for name, gradient in one.items():
        assert (gradient is None) == (other[name] is None), name
        if gradient is not None:
            assert_close(gradient, other[name], msg=name, **tolerance)


def test_decoder_taps_leave_outputs_and_gradients_to_the_bit(sided, line_batch):
    batch, found = line_batch(), []
    for tapped in (False, True):
        model = copy.deepcopy(sided).train()
        capture = Capture(model, [*DECODER, "logits"])
        torch.manual_seed(3)
        out = capture.run(model, **batch)["outputs"] if tapped else model(**batch)
        out["loss"].backward()
        found.append((out["logits"], gradients(model)))
    assert torch.equal(found[0][0], found[1][0])
    same(found[0][1], found[1][1], rtol=0, atol=0)


def test_every_tap_carries_its_gradient_to_the_parameters(sided, line_batch):
    model = sided.train()
    capture = Capture(model, [*DECODER, *ENCODER, "logits"])
    taps = capture.run(model, **line_batch())["taps"]
    capture.check_gradients(taps)
    layers = model.decoder.model.decoder.layers
    for name, tap in taps.items():
        model.zero_grad()
        tap.float().square().sum().backward(retain_graph=True)
        reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        assert reached, name
        kind, _, block = name.removeprefix("decoder.").partition(":")
        if name.startswith("decoder.") and kind.removeprefix("cross_") in ("attention", "scores"):
            module = layers[int(block) - 1].get_submodule("encoder_attn" if "cross" in kind else "self_attn")
            for weight in (module.q_proj.weight, module.k_proj.weight):
                assert weight.grad.abs().max() > 0, name
            assert module.v_proj.weight.grad is None or module.v_proj.weight.grad.abs().max() == 0
        if "cross_key" in name or "cross_attention" in name or name.startswith("encoder."):
            assert any(n.startswith("encoder.") for n in reached), name


def test_gradients_of_maps_are_those_of_the_returned_maps(sided, line_batch):
    batch, plain = line_batch(), copy.deepcopy(sided)
    taps = Capture(sided, ["decoder.attention:2", "decoder.cross_attention:1"]).run(sided, **batch)["taps"]
    sum(tap.square().mean() for tap in taps.values()).backward()
    out = plain(**batch, output_attentions=True)
    (out.decoder_attentions[1].square().mean() + out.cross_attentions[0].square().mean()).backward()
    same(gradients(plain), gradients(sided), rtol=1e-4, atol=1e-7)


def test_probabilities_are_recorded_before_dropout(sided, line_batch):
    batch = line_batch()
    capture = Capture(sided, ["decoder.attention:1", "decoder.cross_attention:1", "decoder.hidden:1"])
    with torch.no_grad():
        still = capture.run(sided, **batch)["taps"]
        for module in sided.modules():
            module.training = type(module).__name__ == "TrOCRAttention"
        dropped = capture.run(sided, **batch)["taps"]
    assert_close(dropped["decoder.attention:1"], still["decoder.attention:1"], rtol=0, atol=1e-5)
    for name in ("decoder.attention:1", "decoder.cross_attention:1"):
        assert_close(dropped[name].sum(-1), torch.ones(3, 2, 6), rtol=0, atol=1e-5)
    assert (dropped["decoder.hidden:1"] - still["decoder.hidden:1"]).abs().max() > 1e-3


@pytest.mark.long
def test_checkpointed_blocks_give_the_same_gradients(sided, line_batch):
    """The backward runs outside of active(), as Trainer's does; dropout is on, with the same seed."""
    batch, found = line_batch(), []
    for checkpointed in (False, True):
        model = copy.deepcopy(sided).train()
        capture = Capture(model, [*DECODER, *ENCODER, "logits"])
        if checkpointed:
            checkpoint_activations(model, False)
            assert anatomy(model).sides["decoder"].base.decoder.gradient_checkpointing
        torch.manual_seed(7)
        taps = capture.run(model, **batch)["taps"]
        kept = {name: tap.detach().clone() for name, tap in taps.items()}
        capture.check_gradients(taps)
        sum(tap.square().mean() for tap in taps.values()).backward()
        assert all(torch.equal(tap, kept[name]) for name, tap in taps.items())
        found.append(gradients(model))
    same(*found, rtol=1e-5, atol=1e-5)


def test_reentrant_checkpointing_is_refused(sided):
    checkpoint_activations(sided.train(), True)
    with pytest.raises(TextkdError, match="reentrant"):
        Capture(sided, ["decoder.hidden:1"])


def test_where_hooks_are_recomputed_only_lent_attention_is_refused(sided, line_batch, monkeypatch):
    monkeypatch.setattr("textkd.models.taps.checkpointing.HOOKS_ARE_RECOMPUTED", True)
    checkpoint_activations(sided.train(), False)
    with pytest.raises(TextkdError, match=r"transformers 5\.21 or newer"):
        Capture(sided, ["encoder.attention:1"])
    Capture(sided, ["decoder.attention:1", "encoder.hidden:1"]).run(sided, **line_batch())


@pytest.mark.parametrize("where", ["around", "inside"])
def test_bf16_autocast(where, sided, line_batch):
    """Accelerate wraps `forward` in autocast, so the taps are computed outside of it."""
    batch, model = line_batch(), sided.train()
    exact = Capture(copy.deepcopy(sided).eval(), ["decoder.cross_attention:1"])
    model.adapter = nn.Linear(24, 20)
    capture = Capture(model, DECODER, projections={"p": ("decoder.hidden:2", model.adapter)})
    if where == "inside":
        model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
        taps = capture.run(model, **batch)["taps"]
    else:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            taps = capture.run(model, **batch)["taps"]
    assert taps["decoder.query:2"].dtype == torch.bfloat16
    for kind in ("attention", "scores", "cross_attention", "cross_scores"):
        assert taps[f"decoder.{kind}:2"].dtype == torch.float32
    maps = taps["decoder.cross_attention:2"]
    assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]), rtol=0, atol=1e-5)
    with torch.no_grad():
        right = exact.run(exact.model, **batch)["taps"]["decoder.cross_attention:1"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            near = capture.run(model.eval(), **batch)["taps"]["decoder.cross_attention:1"]
    assert_close(near, right, rtol=0, atol=0.1)
    sum(tap.float().square().mean() for tap in taps.values()).backward()
    assert torch.isfinite(model.adapter.weight.grad).all()


def test_a_model_in_bf16(tiny_sided, line_batch):
    # only learned positions: transformers keeps the sinusoidal ones in float32, and that model does not run at all
    batch, model = line_batch(), tiny_sided("vit").to(torch.bfloat16)
    batch["pixel_values"] = batch["pixel_values"].bfloat16()
    with torch.no_grad():
        taps = Capture(model, [*DECODER, "logits"]).run(model, **batch)["taps"]
        expected = model(**batch, output_attentions=True)
    assert torch.equal(taps["logits"], expected.logits)
    assert_close(taps["decoder.attention:2"], expected.decoder_attentions[1].float(), rtol=0, atol=0.05)
    assert taps["decoder.attention:2"].triu(1).abs().max() == 0


@pytest.mark.long
def test_two_captures_and_copies(sided, line_batch):
    batch = line_batch()
    one, two = (Capture(sided, ["decoder.attention:1", name]) for name in ("decoder.key:1", "encoder.hidden:1"))
    with torch.no_grad():
        alone = one.run(sided, **batch)["taps"]
        with one.active(), two.active():
            both = sided(**batch)["taps"]
    assert set(both) == {"decoder.attention:1", "decoder.key:1", "encoder.hidden:1"}
    assert all(torch.equal(both[name], tap) for name, tap in alone.items())
    for other in (copy.deepcopy(sided), pickle.loads(pickle.dumps(sided))):
        left = [h for m in other.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
        assert left
        assert all(isinstance(hook, Silent) for hook in left)
        with torch.no_grad(), one.active():
            assert "taps" in sided(**batch)
            assert torch.equal(other(**batch).logits, sided(**batch)["outputs"]["logits"])
