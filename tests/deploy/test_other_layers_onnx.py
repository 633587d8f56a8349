"""Models with other layers as ONNX: in float32 and on the int8 grid on which they can learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ocr_lab import make_reader, processor
from tiny_lab import make_teacher, make_tokenizer

from textkd import deploy, rebuild
from textkd.deploy.manifest import FILE
from textkd.deploy.shipping import told
from textkd.deploy.to_onnx import export_onnx
from textkd.models.onnx.graph import columns_of
from textkd.models.onnx.session import session
from textkd.models.transforms.quantised import prepare, quantised

WORDS: dict[str, Any] = {"factorise": {"embeddings": 6, "layers": {"attention": 4}}, "cheap": {"ffn": "grouped"}}


@pytest.mark.long
def test_a_classifier(tmp_path: Path) -> None:
    model = rebuild(make_teacher(1), **WORDS)
    model.save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "int8", int8="dynamic")
    assert json.loads((tmp_path / "int8" / FILE).read_text())["agreement"]["largest_difference"] < 1e-5  # in float32
    assert deploy.load(tmp_path / "int8").predict(["a good film"])[0]["label"] in ("0", "1")
    assert [len(told(tmp_path / name)) for name in ("model", "int8")] == [1, 0]  # who loads it, where not everybody can
    runtime, apart, chance = session(tmp_path / "int8" / "model.onnx", 1), [], torch.Generator().manual_seed(0)
    for count in range(3, 18):
        ids = torch.randint(5, 21, (1, count), generator=chance)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        (wanted,) = runtime.run(None, {name: batch[name].numpy() for name in columns_of(model)})
        with quantised([model]), torch.no_grad():
            apart.append(float((model(**batch).logits - torch.tensor(wanted)).abs().max()))
    assert sorted(apart)[len(apart) // 2] < 1e-6


def test_every_layer_of_them_is_on_the_grid() -> None:
    model = rebuild(make_teacher(1), **WORDS)
    names = set(prepare(model))
    assert {"bert.embeddings.word_embeddings.table", "bert.embeddings.word_embeddings.up",
            "bert.encoder.layer.0.attention.self.query.first",
            "bert.encoder.layer.0.intermediate.dense.parts.3"} <= names  # fmt: skip


@pytest.mark.slow
def test_a_reader(tmp_path: Path) -> None:
    words = {"encoder": {"layers": 3}, "decoder": {"embeddings": 4, "layers": {"attention": 0.25}}}
    rebuild(make_reader(), factorise=words, cheap={"decoder": {"ffn": "grouped"}}).save_pretrained(tmp_path / "model")
    processor().save_pretrained(tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "onnx")
    assert json.loads((tmp_path / "onnx" / FILE).read_text())["agreement"]["largest_difference"] < 1e-4
