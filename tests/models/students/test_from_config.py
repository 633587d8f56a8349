from __future__ import annotations

import logging

import pytest
import torch
import transformers as hf
from tiny_teachers import CONFIGS, make, outputs

from textkd.errors import TextkdError
from textkd.models.students import RANDOM_INIT_WARNING, from_config


@pytest.mark.parametrize("kind", CONFIGS)
def test_narrower_student_of_every_architecture(kind: str) -> None:
    teacher = make(kind)
    before = teacher.config.to_dict()
    student = from_config(teacher, hidden_size=16, num_hidden_layers=2, num_attention_heads=4)
    config = student.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 2, 4)
    assert (
        getattr(config, "intermediate_size", getattr(config, "hidden_dim", None)) == 24
    )  # the teacher's ratio, 48 / 32
    assert outputs(student).shape == outputs(teacher).shape
    assert config.id2label == teacher.config.id2label
    assert teacher.config.to_dict() == before
    assert type(student) is type(teacher)
    assert not student.training


def test_warning_and_seed(caplog) -> None:
    teacher = make("bert")
    with caplog.at_level(logging.WARNING, "textkd"):
        torch.manual_seed(3)
        one = from_config(teacher, hidden_size=16)
        torch.manual_seed(3)
        two = from_config(teacher, hidden_size=16)
    assert RANDOM_INIT_WARNING in caplog.text
    assert torch.equal(outputs(one), outputs(two))


@pytest.mark.parametrize("kind", ["distilbert", "electra", "modernbert"])
def test_another_architecture_takes_vocabulary_and_labels(kind: str) -> None:
    teacher = make("bert")
    student = from_config(
        teacher, model_type=kind, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40
    )
    assert student.config.model_type == kind
    assert (student.config.vocab_size, student.config.id2label) == (60, teacher.config.id2label)
    assert getattr(student.config, "intermediate_size", getattr(student.config, "hidden_dim", None)) == 40
    assert outputs(student).shape == (2, 3)


def test_another_architecture_keeps_the_kind_of_head() -> None:
    teacher = make("bert", hf.AutoModelForMaskedLM)
    student = from_config(teacher, model_type="distilbert", hidden_size=24, num_hidden_layers=1, num_attention_heads=2)
    assert isinstance(student, hf.DistilBertForMaskedLM)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"hiden_size": 16}, ["hiden_size", "nearest: hidden_size"]),
        ({"hiden_size": 16, "xyzzy": 1}, ["2 problems", "fields: "]),
        ({"hidden_size": 30, "num_attention_heads": 4}, ["30 is not a multiple of 4", "fix: use 3 heads", "32"]),
        ({"hidden_size": 0}, ["positive whole number"]),
        ({"num_hidden_layers": "2"}, ["positive whole number"]),
        ({"hidden_act": "nonsense"}, ["nonsense"]),
        ({"model_type": "brt"}, ["nearest: bert"]),
        ({"model_type": "vit"}, ["with the head of BertForSequenceClassification", "transformers has none"]),
    ],
)
def test_wrong_overrides_are_told(overrides: dict, words: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        from_config(make("bert"), **overrides)
    assert all(word in str(told.value) for word in words), str(told.value)


def test_vit_teacher_gives_a_deit_student() -> None:
    student = from_config(
        make("vit"),
        model_type="deit",
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    assert isinstance(student, hf.DeiTForImageClassification)
    assert outputs(student).shape == (2, 3)
