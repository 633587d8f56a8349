"""Projections: what they compute, and that they live and leave with the student."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from textkd import projections
from textkd.errors import TextkdError


@pytest.fixture
def student():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
    )
    return BertForSequenceClassification(config).eval()


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("linear", lambda y: y),
        ("relu", lambda y: y.clamp(min=0)),
        ("tanh", torch.tanh),
        ("gelu", lambda y: y * 0.5 * (1 + torch.erf(y / 2**0.5))),
        (
            "linear_norm",
            lambda y: (y - y.mean(-1, keepdim=True)) / (y.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt(),
        ),
    ],
)
def test_what_each_kind_computes(kind, function):
    module = projections.build(kind, 3, 5)
    state = module.state_dict()
    weight = next(v for k, v in state.items() if v.dim() == 2)
    bias = torch.arange(5.0)
    next(p for n, p in module.named_parameters() if n in ("bias", "0.bias")).data.copy_(bias)
    x = torch.randn(2, 4, 3)
    assert torch.allclose(module(x), function(x @ weight.T + bias), atol=1e-5)


def test_identity():
    x = torch.randn(2, 3)
    assert torch.equal(projections.build("identity", 3, 3)(x), x)
    with pytest.raises(TextkdError, match="3 wide, the teacher 5"):
        projections.build("identity", 3, 5)


def test_init_is_small_and_repeatable():
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        made.append(projections.build("linear", 200, 300))
    assert torch.equal(made[0].weight, made[1].weight)
    assert made[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (made[0].bias == 0).all()
    assert projections.build("tanh", 200, 300, init_std=0.5)[0].weight.std().item() == pytest.approx(0.5, rel=0.05)


def test_a_typo_tells_the_nearest():
    with pytest.raises(TextkdError, match="nearest: linear"):
        projections.build("linaer", 3, 5)


NAMES = ["hidden:1<-2/mse", "module:bert.encoder.layer.0", "100%", "a%2Eb", "keys", "training", "%%x", ""]


def test_any_name_can_be_attached(student):
    modules = {name: projections.attach(student, name, nn.Linear(2, 2)) for name in NAMES}
    assert projections.names(student) == NAMES
    assert all(projections.get(student, name) is module for name, module in modules.items())
    assert projections.detach(student) == modules


def test_they_are_the_students_parameters(student):
    before = {name for name, _ in student.named_parameters()}
    module = projections.attach(student, "hidden:1", projections.build("linear", 16, 32))
    added = {name for name, _ in student.named_parameters()} - before
    assert added == {"textkd_projections.hidden:1.weight", "textkd_projections.hidden:1.bias"}
    assert any(p is module.weight for p in student.parameters())
    projections.detach(student)
    assert {name for name, _ in student.named_parameters()} == before
    assert not hasattr(student, "textkd_projections")
    assert projections.detach(student) == {}


def test_attach_follows_the_students_float_type(student):
    module = projections.attach(student.to(torch.bfloat16), "a", projections.build("linear", 16, 32))
    assert module.weight.dtype == torch.bfloat16
    assert module(torch.zeros(1, 16, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_an_equal_module_keeps_the_trained_one_and_a_different_one_is_refused(student):
    first = projections.attach(student, "a", projections.build("linear", 16, 32))
    assert projections.attach(student, "a", projections.build("linear", 16, 32)) is first
    with pytest.raises(TextkdError, match="detach the old one"):
        projections.attach(student, "a", projections.build("linear", 16, 8))


def test_get_tells_the_nearest(student):
    projections.attach(student, "hidden:1<-2/mse", nn.Linear(2, 2))
    with pytest.raises(TextkdError, match="nearest: hidden:1<-2/mse"):
        projections.get(student, "hidden:1<-3/mse")


def test_a_student_saved_with_projections_loads_without_them(student, tmp_path):
    ids = torch.tensor([[1, 2, 3]])
    expected = student(ids).logits
    projections.attach(student, "hidden:1<-2/mse", projections.build("linear", 16, 32))
    student.save_pretrained(tmp_path)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert torch.equal(loaded.eval()(ids).logits, expected)
    assert not info["missing_keys"]
    assert set(info["unexpected_keys"]) == {f"textkd_projections.hidden:1<-2/mse.{end}" for end in ("weight", "bias")}


def test_a_detached_student_saves_no_trace(student, tmp_path):
    projections.attach(student, "hidden:1<-2/mse", projections.build("linear", 16, 32))
    projections.detach(student)
    student.save_pretrained(tmp_path)
    _, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]


def test_resume_restores_trained_projections(student, tmp_path):
    trained = projections.attach(student, "module:a.b", projections.build("linear", 16, 32))
    state = {name: value.clone() for name, value in student.state_dict().items()}
    nn.init.ones_(trained.weight)
    student.load_state_dict(state)
    assert torch.equal(trained.weight, state["textkd_projections.module:a%2Eb.weight"])
