"""Early stops, odd models, precision, and what a capture refuses."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AttentionInterface

from textkd.errors import TextkdError
from textkd.models.taps import Capture, anatomy
from textkd.models.taps.attention import NAME, tapped_attention
from textkd.models.taps.recorder import Silent

EVERYTHING = ["logits", "hidden:0", "hidden:2", "ffn:2", "embeddings", "attention:2", "scores:3", "value:1"]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


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
