from __future__ import annotations

import pytest
import torch
import transformers as hf
from tiny_teachers import make, outputs

from textkd.errors import TextkdError
from textkd.models import students
from textkd.models.students import build, shrink

AUTO = hf.AutoModelForSequenceClassification


def test_shrink() -> None:
    teacher = make("bert")
    student = build({"shrink": {"layers": [2, 4, 6]}}, teacher, AUTO, num_labels=3)
    assert torch.equal(outputs(student), outputs(shrink(teacher, [2, 4, 6])))
    uniform = build({"shrink": {"layers": "uniform", "n_layers": 3}}, teacher, AUTO)
    assert torch.equal(outputs(student), outputs(uniform))


def test_path(tmp_path) -> None:
    saved = make("bert")
    saved.save_pretrained(tmp_path)
    student = build({"path": str(tmp_path)}, make("roberta"), AUTO, num_labels=3)
    assert torch.allclose(outputs(student), outputs(saved), atol=1e-5)
    with pytest.raises(TextkdError, match="SHA-256"):
        build({"path": str(tmp_path), "sha256": "0" * 64}, saved, AUTO, num_labels=3)


def test_config() -> None:
    assert build({"config": {"hidden_size": 16}}, make("bert"), AUTO).config.hidden_size == 16


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, ["none of shrink, path, config"]),
        ({"path": "x", "shrink": {"layers": [1]}}, ["shrink and path together"]),
        ({"shrnk": {"layers": [1]}}, ["2 problems", "nearest: shrink"]),
        ({"shrink": {"layer": [1]}}, ["nearest: layers", "shrink.layer:"]),
        ({"shrink": [2, 4, 6]}, ["not a block of keys"]),
        ({"config": 3}, ["not a block of keys"]),
        ({"path": ""}, ["not a path"]),
        ({"shrink": {"layers": [1]}, "sha256": "0"}, ["student key sha256"]),
        ("bert", ["not a block of keys"]),
    ],
)
def test_wrong_specs_are_told(spec, words: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        build(spec, make("bert"), AUTO)
    assert all(word in str(told.value) for word in words), str(told.value)


def test_another_number_of_labels_is_told() -> None:
    with pytest.raises(TextkdError, match="for 2 labels"):
        build({"shrink": {"layers": [1]}}, make("bert"), AUTO, num_labels=2)


def test_a_student_larger_than_the_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*_: object) -> None:
        raise RuntimeError(what)

    monkeypatch.setattr(students, "from_recurrent", allocate)
    what = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes"
    with pytest.raises(TextkdError, match="give smaller sizes"):
        build({"recurrent": {"kind": "bilstm"}}, make("bert"), AUTO)
    what = "a fault of ours"
    with pytest.raises(RuntimeError, match="of ours"):
        build({"recurrent": {"kind": "bilstm"}}, make("bert"), AUTO)
