"""A capture changes nothing that it does not say, and never loses a tap in silence."""

import contextlib
import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from textkd.errors import TextkdError
from textkd.taps import Capture, anatomy
from textkd.taps.attention import NAME, tapped_attention
from textkd.taps.capture import HOOKS_ARE_RECOMPUTED
from textkd.taps.recorder import Silent

EVERYTHING = ["logits", "hidden:0", "hidden:2", "ffn:2", "embeddings", "attention:2", "scores:3", "value:1"]


def checkpoint_activations(model, settings):
    """transformers calls it by another name since 5.21."""
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)(settings)


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
    assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]), rtol=0, atol=1e-6)
    assert_close(maps, still["attention:1"], rtol=0, atol=1e-6)
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
            assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6, msg=name)
            compared += b.grad.abs().max() > 0
    assert compared > 10


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "distilbert", "modernbert", "vit", "deit"])
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
            assert_close(a, b, rtol=1e-5, atol=1e-6)


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
    monkeypatch.setattr("textkd.taps.capture.HOOKS_ARE_RECOMPUTED", True)
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


def test_an_early_stop_runs_no_further_than_the_last_tap(architecture, tiny, inputs):
    model = tiny(architecture)
    batch = inputs(model)
    full = Capture(model, ["hidden:1", "attention:2"])
    with torch.no_grad():
        expected = full.run(model, **batch)["taps"]
    full.remove()
    capture = Capture(model, ["hidden:1", "attention:2"], stop_early=True)
    ran = []
    parts = dict.fromkeys([*anatomy(model).blocks, model.get_submodule("classifier")])
    for part in parts:
        part.register_forward_pre_hook(lambda module, args: ran.append(module))
    with torch.no_grad():
        captured = capture.run(model, **batch)
        assert len(ran) == 2
        assert captured["outputs"] == {}
        for key, tap in expected.items():
            assert torch.equal(captured["taps"][key], tap)
        assert model(**batch).logits.shape == (3, 3)
        again = capture.run(model, **batch)["taps"]
    assert torch.equal(again["attention:2"], expected["attention:2"])


def test_no_early_stop_where_logits_are_asked_or_gradients_flow(tiny, inputs):
    model = tiny("bert")
    batch = inputs(model)
    capture = Capture(model, ["hidden:1", "logits"], stop_early=True)
    with torch.no_grad():
        assert torch.equal(capture.run(model, **batch)["taps"]["logits"], model(**batch).logits)
    with pytest.raises(TextkdError, match="no_grad"):
        Capture(model, ["hidden:1"], stop_early=True).run(model, **batch)
    with torch.no_grad(), Capture(model, ["hidden:1"], stop_early=True).active():
        assert model(**batch)["outputs"]["logits"].shape == (3, 3)


def test_inference_mode_is_refused(tiny, inputs):
    model = tiny("bert")
    with torch.inference_mode(), pytest.raises(TextkdError, match="no_grad"):
        Capture(model, ["hidden:1"]).run(model, **inputs(model))


class Empty(nn.Module):
    def forward(self, x):
        return x[:0]


class Untensored(nn.Module):
    def forward(self, x):
        return ()


@pytest.mark.parametrize(
    ("module", "reason"), [(Empty(), "empty tensor"), (Untensored(), "gave no tensor"), (None, "did not run")]
)
def test_a_tap_that_is_missing_or_empty_is_an_error(module, reason, tiny, inputs):
    model = tiny("bert")
    model.extra = module or nn.Identity()
    if module is not None:
        model.classifier.register_forward_hook(lambda m, a, out: (model.extra(out), None)[1])
    capture = Capture(model, ["module:extra", "hidden:1"])
    with pytest.raises(TextkdError, match=reason) as caught:
        capture.run(model, **inputs(model))
    assert "module:extra" in str(caught.value)
    assert "hidden:1" not in str(caught.value).replace("nearest", "")
    capture.remove()
    assert model(**inputs(model)).logits.shape == (3, 3)


def test_labels_are_the_models_own_loss_and_need_labels(tiny, inputs):
    model = tiny("bert")
    batch = inputs(model)
    capture = Capture(model, ["labels"])
    with pytest.raises(TextkdError, match="no labels"):
        capture.run(model, **batch)
    batch["labels"] = torch.tensor([0, 1, 2])
    captured = capture.run(model, **batch)
    assert torch.equal(captured["taps"]["labels"], captured["outputs"]["loss"])
    assert sorted(captured["outputs"]) == ["logits", "loss"]
    assert type(captured) is dict


def test_a_module_that_runs_twice_is_an_error(tiny, inputs):
    model = tiny("albert")
    capture = Capture(model, ["module:albert.encoder.albert_layer_groups.0"])
    with pytest.raises(TextkdError, match="more than 1 time"):
        capture.run(model, **inputs(model))


def test_module_taps_read_outputs_and_inputs(tiny, inputs):
    model = tiny("bert")
    path = "bert.encoder.layer.1.output.dense"
    taps = Capture(model, [f"module:{path}", f"module:{path}@input", "module:bert.encoder.layer.0", "hidden:1"]).run(
        model, **inputs(model)
    )["taps"]
    assert_close(model.get_submodule(path)(taps[f"module:{path}@input"]), taps[f"module:{path}"])
    assert torch.equal(taps["module:bert.encoder.layer.0"], taps["hidden:1"])


def test_running_another_model_is_an_error(tiny, inputs):
    model, other = tiny("bert"), tiny("bert")
    with pytest.raises(TextkdError, match="did not run"), Capture(model, ["logits"]).active():
        other(**inputs(other))


def test_an_error_in_the_forward_leaves_the_model_whole(tiny, inputs):
    model = tiny("bert")
    batch = inputs(model)
    config = model.config
    capture = Capture(model, ["attention:2", "hidden:3"])

    def fails(module, *args, **kwargs):
        raise ValueError("broken kernel")

    AttentionInterface.register(NAME, fails)
    try:
        with pytest.raises(ValueError, match="broken kernel"):
            capture.run(model, **batch)
    finally:
        AttentionInterface.register(NAME, tapped_attention)
    assert all(m.config is config for m in model.modules() if hasattr(m, "config"))
    assert "taps" not in model(**batch)
    assert set(capture.run(model, **batch)["taps"]) == {"attention:2", "hidden:3"}


def test_two_captures_on_one_model_do_not_disturb_each_other(tiny, inputs):
    model, batch = tiny("bert"), inputs(tiny("bert"))
    one, two = Capture(model, ["attention:2", "hidden:1"]), Capture(model, ["attention:2", "query:2", "logits"])
    with torch.no_grad():
        first, second = one.run(model, **batch), two.run(model, **batch)
        with one.active(), two.active():
            both = model(**batch)
    assert set(first["taps"]) == {"attention:2", "hidden:1"}
    assert set(second["taps"]) == {"attention:2", "query:2", "logits"}
    assert set(both["taps"]) == {"attention:2", "hidden:1", "query:2", "logits"}
    for key, tap in {**first["taps"], **second["taps"]}.items():
        assert torch.equal(both["taps"][key], tap)
    one.remove()
    with torch.no_grad():
        assert torch.equal(two.run(model, **batch)["taps"]["attention:2"], second["taps"]["attention:2"])
    assert all(m.config is model.config for m in model.modules() if hasattr(m, "config"))


def test_captures_on_two_models_run_inside_each_other(tiny, inputs):
    student, teacher = tiny("distilbert"), tiny("bert")
    mine, theirs = Capture(student, ["attention:1"]), Capture(teacher, ["attention:3"], stop_early=True)
    batch = inputs(student)
    with mine.active():
        with torch.no_grad():
            taught = theirs.run(teacher, **batch)
        learned = student(**batch)
    assert set(taught["taps"]) == {"attention:3"}
    assert set(learned["taps"]) == {"attention:1"}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), "torch"])
def test_a_copy_of_the_model_is_a_plain_model(copied, tiny, inputs):
    model = tiny("bert")
    batch = inputs(model)
    capture = Capture(model, EVERYTHING)
    if copied == "torch":
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        other = torch.load(buffer, weights_only=False)
    else:
        other = copied(model)
    with torch.no_grad(), capture.active():
        assert "taps" not in other(**batch)
        assert "taps" in model(**batch)
    left = [h for m in other.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    assert len(left) == hooks(model)
    assert all(isinstance(hook, Silent) for hook in left), "a copy must not hold the capture, nor its model"
    assert torch.equal(other(**batch).logits, model(**batch).logits)
    fresh = Capture(other, ["hidden:1"])
    assert set(fresh.run(other, **batch)["taps"]) == {"hidden:1"}
    assert set(capture.run(model, **batch)["taps"]) == set(EVERYTHING)


def test_projections_run_inside_the_forward(tiny, inputs):
    model = tiny("bert")
    model.adapters = nn.ModuleDict({"wide": nn.Linear(16, 40)})
    capture = Capture(model, ["hidden:1"], projections={"hidden:2<-6/mse": ("hidden:-2", model.adapters["wide"])})
    taps = capture.run(model, **inputs(model))["taps"]
    assert set(taps) == {"hidden:1", "hidden:2<-6/mse"}
    assert taps["hidden:2<-6/mse"].shape == (3, 9, 40)
    taps["hidden:2<-6/mse"].sum().backward()
    assert model.adapters["wide"].weight.grad is not None
    with pytest.raises(TextkdError, match="not a submodule"):
        Capture(model, [], projections={"lost": ("hidden:1", nn.Linear(16, 40))})
    alone = Capture(model, [], projections={"p": ("hidden:1", model.adapters["wide"])})
    assert set(alone.run(model, **inputs(model))["taps"]) == {"p"}


@pytest.mark.parametrize("where", ["around", "inside"])
def test_bf16_autocast(where, architecture, tiny, inputs):
    """Accelerate wraps `forward` in autocast, so hooks stand outside of it: projections must still fit."""
    model = tiny(architecture).train()
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


def test_a_model_that_returns_tuples(tiny, inputs):
    model = tiny("bert")
    model.config.return_dict = False
    batch = inputs(model)
    capture = Capture(model, ["logits"])
    expected = model(**batch)[0]
    assert torch.equal(capture.run(model, **batch)["taps"]["logits"], expected)
    assert isinstance(model(**batch), tuple)
    with capture.active():
        assert torch.equal(model(**batch, return_dict=False)["taps"]["logits"], expected)


def test_check_gradients_names_the_frozen_taps(tiny, inputs):
    model = tiny("bert").train()
    for parameter in (*model.bert.embeddings.parameters(), *model.bert.encoder.layer[0].parameters()):
        parameter.requires_grad = False
    capture = Capture(model, ["hidden:1", "hidden:2"])
    taps = capture.run(model, **inputs(model))["taps"]
    with pytest.raises(TextkdError, match='"hidden:1"') as caught:
        capture.check_gradients(taps)
    assert len(caught.value.problems) == 1
    model.eval()
    capture.check_gradients(taps)


def test_data_parallel_threads_are_refused(tiny, inputs):
    model = tiny("bert")
    capture = Capture(model, ["hidden:1"])
    replica = model._replicate_for_data_parallel()
    with pytest.raises(TextkdError, match="DataParallel"), capture.active():
        replica(**inputs(model))


def test_a_float_mask_with_minus_infinity_gives_no_nan():
    module = nn.Module().eval()
    query, key, value = torch.randn(3, 1, 2, 4, 8).requires_grad_()
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1, :] = float("-inf")
    out, maps = tapped_attention(module, query, key, value, mask)
    assert torch.isfinite(out).all()
    assert_close(maps.sum(-1), torch.ones(1, 2, 4))


def test_any_module_gives_its_logits_and_modules():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(3, 4)

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = model

        def forward(self, x, return_dict=True):
            return self.body(x)

    named = Named()
    taps = Capture(named, ["logits", "module:body.0", "module:body.2@input"]).run(named, x=x)["taps"]
    assert torch.equal(taps["logits"], model(x))
    assert torch.equal(taps["module:body.2@input"], taps["module:body.0"].relu())
    with pytest.raises(TextkdError, match="not known"):
        Capture(named, ["hidden:1"])
