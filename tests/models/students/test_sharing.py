"""shares_encoder, and the key share_encoder of a recipe's student."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers as hf
from tiny_readers import reader
from tiny_teachers import make

from textkd.errors import TextkdError
from textkd.models.students import build, shares_encoder, shrink

AUTO = hf.VisionEncoderDecoderModel


def test_a_copied_encoder_is_shared_whatever_the_decoder() -> None:
    teacher = reader()
    for spec in ({"shrink": {"decoder_layers": 1}}, {"config": {"decoder": {"d_model": 8}}}):
        assert shares_encoder(build({**spec, "share_encoder": True}, teacher, AUTO), teacher)
    assert not shares_encoder(shrink(teacher, encoder_layers=3), teacher)


def test_one_different_element_is_enough() -> None:
    teacher = reader()
    student = shrink(teacher)
    for name, weight in student.encoder.named_parameters():
        before = weight.detach().clone()
        with torch.no_grad():
            weight.view(-1)[-1] += 1e-3
            assert shares_encoder(student, teacher) == name.startswith("pooler."), (name, weight.shape)
            weight.copy_(before)
    assert shares_encoder(student, teacher)


def test_the_same_weights_with_another_meaning_are_not_shared() -> None:
    teacher = reader()
    for field, value in (("num_attention_heads", 1), ("hidden_act", "relu"), ("layer_norm_eps", 0.1)):
        student = copy.deepcopy(teacher)
        setattr(student.encoder.config, field, value)
        assert not shares_encoder(student, teacher), field
    low = copy.deepcopy(teacher).to(torch.bfloat16)
    high = copy.deepcopy(low).to(torch.float32)  # the same numbers, computed with in another precision
    assert shares_encoder(copy.deepcopy(high), high)
    assert not shares_encoder(low, high)
    assert not shares_encoder(make("bert"), teacher)


def test_a_reloaded_model_shares_its_encoder(tmp_path) -> None:
    teacher = reader("equal widths")
    teacher.save_pretrained(tmp_path)
    student = build({"path": str(tmp_path), "share_encoder": True}, teacher, AUTO)
    assert shares_encoder(student, teacher)


def test_a_promise_that_is_not_kept_is_told(tmp_path) -> None:
    shrink(reader(), encoder_layers=2).save_pretrained(tmp_path)
    with pytest.raises(TextkdError, match="another one than the teacher's"):
        build({"path": str(tmp_path), "share_encoder": True}, reader(), AUTO)
    with pytest.raises(TextkdError, match="leave share_encoder out"):
        build({"shrink": {"layers": [1]}, "share_encoder": True}, make("bert"), hf.AutoModel)
