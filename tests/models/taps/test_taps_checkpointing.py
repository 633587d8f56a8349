"""Taps of blocks whose activations are recomputed in the backward."""

import pytest
import torch
from second_proofs import but_few
from torch.testing import assert_close

from textkd.errors import TextkdError
from textkd.models.taps import Capture, anatomy
from textkd.models.taps.checkpointing import HOOKS_ARE_RECOMPUTED

EVERYTHING = ["logits", "hidden:0", "hidden:2", "ffn:2", "embeddings", "attention:2", "scores:3", "value:1"]


def checkpoint_activations(model, settings):
    """transformers calls it by another name since 5.21."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)(settings)


@pytest.mark.parametrize(
    "name",
    but_few(["bert", "roberta", "electra", "distilbert", "modernbert", "vit", "deit"], "bert", "modernbert", "vit"),
)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_checkpointed_blocks_give_the_same_gradients(name, implementation, tiny, inputs):
    """The backward runs outside of active(), as Trainer's does; dropout is on, with the same seed."""
    inside = [] if HOOKS_ARE_RECOMPUTED else ["attention:2", "query:3"]  # refused there
    addresses = ["logits", "hidden:1", "ffn:2", *inside, "module:" + _dense(tiny(name))]
    gradients = []
    for checkpointed in (False, True):
        model = tiny(name, implementation=implementation).train()
        batch = inputs(model)
        capture = Capture(model, addresses)
        if checkpointed:
            checkpoint_activations(model, {"use_reentrant": False})
        torch.manual_seed(7)
        with capture.active():
            taps = model(**batch)["taps"]
        capture.check_gradients(taps)
        sum(tap.square().mean() for tap in taps.values()).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert sum(g is not None for g in gradients[0]) > 20
    for a, b in zip(*gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_backward_inside_active_fires_no_hook_twice(tiny, inputs):
    model = tiny("bert").train()
    checkpoint_activations(model, {"use_reentrant": False})
    capture = Capture(model, ["ffn:2", "hidden:1", *([] if HOOKS_ARE_RECOMPUTED else ["attention:2"])])
    with capture.active():
        taps = model(**inputs(model))["taps"]
        kept = {key: tap.detach().clone() for key, tap in taps.items()}
        sum(tap.square().mean() for tap in taps.values()).backward()
        again = model(**inputs(model))["taps"]
    assert set(again) == set(kept)
    for key, tap in taps.items():
        assert torch.equal(tap, kept[key])


def test_attention_taps_of_blocks_whose_hooks_are_recomputed_are_refused(tiny, monkeypatch):
    monkeypatch.setattr("textkd.models.taps.checkpointing.HOOKS_ARE_RECOMPUTED", True)
    model = tiny("bert").train()
    checkpoint_activations(model, {"use_reentrant": False})
    with pytest.raises(TextkdError, match=r"transformers 5\.21 or newer"):
        Capture(model, ["attention:2"])
    Capture(model, ["hidden:2"]).remove()


def _dense(model):
    part = anatomy(model).part("ffn", 1)
    return next(name for name, module in model.named_modules() if module is part)


def test_reentrant_checkpointing_is_refused(tiny, inputs):
    model = tiny("bert").train()
    capture = Capture(model, ["hidden:2"])
    checkpoint_activations(model, {"use_reentrant": True})
    with pytest.raises(TextkdError, match="reentrant"), capture.active():
        model(**inputs(model))
    with pytest.raises(TextkdError, match="use_reentrant"):
        Capture(model, ["hidden:2"])
    checkpoint_activations(model, {})
    with pytest.raises(TextkdError, match="reentrant"):
        Capture(model, ["hidden:2"])
