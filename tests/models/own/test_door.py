"""A folder that textkd alone loads: to the bit with it, not at all without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from refused_lab import plain_refuses
from tiny_lab import make_tokenizer
from toy_kind import ToyConfig, ToyForSequenceClassification
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification

from textkd.errors import TextkdError
from textkd.models.loading import clone, fingerprint, load_model, load_tokenizer
from textkd.models.no_code import from_pretrained, saved_class
from textkd.models.own import door
from textkd.models.saved import lost_when_saved

IDS = torch.tensor([[2, 5, 6, 3], [2, 9, 3, 0]])


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a saved toy."""
    monkeypatch.setitem(door.KINDS, "toy", "toy_kind")
    torch.manual_seed(0)
    model = ToyForSequenceClassification(ToyConfig(num_labels=3)).eval()
    model.save_pretrained(tmp_path / "toy")
    make_tokenizer().save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


def test_what_was_saved_is_loaded_to_the_bit(toy: Path) -> None:
    torch.manual_seed(0)
    before = ToyForSequenceClassification(ToyConfig(num_labels=3)).eval()
    model = load_model(toy, AutoModelForSequenceClassification)
    assert type(model) is ToyForSequenceClassification
    assert not model.training
    assert torch.equal(model(IDS).logits, before(IDS).logits)
    assert model.config.model_type == "toy"
    assert model.name_or_path == str(toy)
    assert from_pretrained(AutoConfig, str(toy)).num_labels == 3
    assert saved_class(str(toy)) == ("ToyForSequenceClassification", ToyForSequenceClassification)
    twin = clone(model)
    assert torch.equal(twin(IDS).logits, before(IDS).logits)
    assert lost_when_saved(twin) == ""
    twin.save_pretrained(toy.parent / "again")
    assert fingerprint(toy.parent / "again") == fingerprint(toy)
    assert len(load_tokenizer(toy)) == len(make_tokenizer())


def test_a_head_of_another_task(toy: Path) -> None:
    with pytest.raises(TextkdError, match="classifier"):
        load_model(toy, AutoModelForSequenceClassification, num_labels=2)
    names = {"num_labels": 2, "id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    model = load_model(toy, AutoModelForSequenceClassification, ignore_mismatched_sizes=True, **names)
    assert model.config.id2label == {0: "no", 1: "yes"}
    assert model(IDS).logits.shape == (2, 2)


@pytest.mark.parametrize(("change", "said"), [
    ({"textkd": {"kind": "toys"}}, "nearest: toy"),
    ({"textkd": {}}, "names the kind None"),
    ({"textkd": 7}, "names the kind None"),
    ({"id2label": 7}, "makes no config"),
    ({"textkd": {"kind": "toy"}}, "no model_type in the block textkd"),
    ({"model_type": "bert"}, r"no model\.safetensors[\s\S]*copy config\.json again: model\.textkd\.safetensors"),
])  # fmt: skip
def test_a_config_that_was_written_by_others(toy: Path, change: dict, said: str) -> None:
    told = json.loads((toy / "config.json").read_text())
    (toy / "config.json").write_text(json.dumps({**told, **change}))
    with pytest.raises(TextkdError, match=said):
        load_model(toy, AutoModelForSequenceClassification)


def test_a_class_that_the_kind_has_not(toy: Path) -> None:
    with pytest.raises(TextkdError, match="AutoModelForSequenceClassification"):
        load_model(toy, AutoModelForMaskedLM)


def test_weights_that_are_missing_or_under_a_plain_name(toy: Path) -> None:
    (toy / "model.textkd.safetensors").rename(toy / "model.safetensors")
    with pytest.raises(TextkdError, match=r"no model\.textkd\.safetensors[\s\S]*give model\.safetensors this name"):
        load_model(toy, AutoModelForSequenceClassification)


def test_weights_in_several_files(toy: Path) -> None:
    model = load_model(toy, AutoModelForSequenceClassification)
    model.save_pretrained(toy.parent / "parts", max_shard_size=500)
    assert len(list((toy.parent / "parts").glob("*.safetensors"))) > 1
    again = load_model(toy.parent / "parts", AutoModelForSequenceClassification)
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_a_folder_is_not_pushed_half_way(toy: Path) -> None:
    with pytest.raises(TextkdError, match="push_to_hub"):
        load_model(toy, AutoModelForSequenceClassification).save_pretrained(toy.parent / "hub", push_to_hub=True)


@pytest.mark.slow
def test_plain_transformers_refuses_it(toy: Path) -> None:
    plain_refuses(toy)
