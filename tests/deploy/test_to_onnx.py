"""`export_onnx`: what the exported folder answers is what the model answers, for kinds of models and shapes; int8 is on
the grid that is promised; what cannot be exported is refused and leaves nothing behind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers as hf
from onnx import TensorProto, helper, numpy_helper
from tiny_lab import WORDS, make_tokenizer

from textkd import deploy
from textkd.deploy.to_onnx import export_onnx
from textkd.errors import TextkdError
from textkd.models.onnx.int8 import quantise
from textkd.models.onnx.session import session

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
VOCABULARY = {"vocab_size": 5 + len(WORDS), "pad_token_id": 0, "initializer_range": 0.5}
LABELS = {"id2label": {0: "bad", 1: "fine", 2: "good"}, "label2id": {"bad": 0, "fine": 1, "good": 2}}
TAGS = {"id2label": {0: "O", 1: "B-x", 2: "I-x"}, "label2id": {"O": 0, "B-x": 1, "I-x": 2}}
SMALL = {**SIZES, **VOCABULARY, "max_position_embeddings": 40}
FEW_MORE = {**VOCABULARY, **TAGS}
MODELS: dict[str, Any] = {
    "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**SMALL, **LABELS)),
    "roberta": lambda: hf.RobertaForSequenceClassification(
        hf.RobertaConfig(**{**SMALL, "pad_token_id": 0}, **LABELS, problem_type="multi_label_classification")
    ),
    "distilbert": lambda: hf.DistilBertForTokenClassification(
        hf.DistilBertConfig(
            dim=16, n_layers=2, n_heads=4, hidden_dim=32, max_position_embeddings=40, **VOCABULARY, **TAGS
        )
    ),
    "electra": lambda: hf.ElectraForSequenceClassification(
        hf.ElectraConfig(**SMALL, embedding_size=8, num_labels=1, problem_type="regression")
    ),
}
FEW = ["bert", "distilbert"]


def saved(folder: Path, kind: str) -> Path:
    torch.manual_seed(0)
    MODELS[kind]().save_pretrained(folder)
    words = make_tokenizer()
    words.model_max_length = 24
    words.save_pretrained(folder)
    return folder


def texts(count: int, words: int, seed: int = 0) -> list[str]:
    chance = np.random.default_rng(seed)
    return [" ".join(chance.choice(WORDS, size=int(chance.integers(1, words + 1)))) for _ in range(count)]


@pytest.mark.long
@pytest.mark.parametrize("kind", [*FEW, *(pytest.param(k, marks=pytest.mark.slow) for k in MODELS if k not in FEW)])
def test_the_folder_answers_as_the_model_does(tmp_path: Path, kind: str) -> None:
    source = saved(tmp_path / "model", kind)
    out = export_onnx(source, tmp_path / "out")
    model, words = MODELS[kind], hf.AutoTokenizer.from_pretrained(source)
    loaded = type(model()).from_pretrained(source).eval()
    runtime = deploy.load(out, threads=1)
    assert runtime.max_length == 24
    for shape in range(20):
        some = texts(1 + shape % 7, 1 + 2 * shape, seed=shape)
        with torch.no_grad():
            batch = words(some, truncation=True, max_length=24, padding=True, return_tensors="pt")
            batch = {name: batch[name] for name in runtime.manifest.inputs}
            wanted = loaded(**batch).logits.numpy()
        found = runtime.run(runtime.encoded(some))
        if wanted.ndim == 3:
            kept = batch["attention_mask"].bool().numpy()
            wanted, found = wanted[kept], found[kept]
        assert np.allclose(found, wanted, atol=5e-5), (kind, shape)
    if kind == "bert":
        pipeline = hf.pipeline("text-classification", model=str(source), tokenizer=str(source))
        for one, other in zip(pipeline(texts(9, 9)), runtime.predict(texts(9, 9)), strict=True):
            assert one["label"] == other["label"]
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        pairs = [("good film", "a bad plot"), ("very", "dull " * 30)]
        batch = words(
            *map(list, zip(*pairs, strict=True)), truncation=True, max_length=24, padding=True, return_tensors="pt"
        )
        with torch.no_grad():
            assert np.allclose(runtime.logits(pairs), loaded(**batch).logits.numpy(), atol=1e-5)
        int8 = deploy.load(export_onnx(source, tmp_path / "int8", int8="dynamic"))
        assert int8.manifest.model_mb < runtime.manifest.model_mb
        assert np.abs(int8.logits(pairs) - runtime.logits(pairs)).max() > 0
        static = deploy.load(export_onnx(source, tmp_path / "static", int8="static", rows=texts(30, 9), rows_from="x"))
        assert static.manifest.calibrated == "30 rows of x"
        spread = np.abs(runtime.logits(texts(9, 9))).max()
        for other in (int8, static):
            assert np.abs(other.logits(texts(9, 9)) - runtime.logits(texts(9, 9))).max() < 0.2 * spread


def linear(folder: Path, weight: np.ndarray) -> Path:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    shape = ["n", weight.shape[0]], ["n", weight.shape[1]]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, one)] for name, one in zip("xy", shape, strict=True)
    ]
    made = helper.make_graph(nodes, "linear", *ends, [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "a.onnx")
    return folder / "a.onnx"


def test_int8_weights_are_absmax_over_127_per_channel(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    weight = chance.normal(size=(24, 5)).astype(np.float32) * np.array([1, 9, 0.1, 3, 1e-3], np.float32)
    quantise(linear(tmp_path, weight), tmp_path / "b.onnx", "dynamic")
    rows = chance.normal(size=(7, 24)).astype(np.float32)
    (found,) = session(tmp_path / "b.onnx", 1).run(None, {"x": rows})
    scale = np.abs(weight).max(0) / 127
    whole = np.clip(np.round(weight / scale), -127, 127)
    low, high = min(rows.min(), 0), max(rows.max(), 0)
    step = np.float32((high - low) / 255)
    zero = np.clip(np.round(-low / step), 0, 255)
    given = np.clip(np.round(rows / step) + zero, 0, 255) - zero
    assert np.allclose(found, given @ whole * (step * scale), rtol=1e-4, atol=1e-6)


REFUSED = {
    "a masked language model": lambda folder: hf.BertForMaskedLM(hf.BertConfig(**SMALL)).save_pretrained(folder),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_exported_is_refused_and_nothing_is_left(tmp_path: Path, what: str) -> None:
    source = saved(tmp_path / "model", "bert")
    REFUSED[what](source)
    with pytest.raises(TextkdError):
        export_onnx(source, tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_bad_options_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path / "model", "bert")
    with pytest.raises(TextkdError, match="dynamic"):
        export_onnx(source, tmp_path / "out", int8="dynamik")
    with pytest.raises(TextkdError, match="no rows"):
        export_onnx(source, tmp_path / "out", int8="static")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(TextkdError, match="not empty"):
        export_onnx(source, tmp_path / "full")
    with pytest.raises(TextkdError, match="other things"):
        export_onnx(source, tmp_path / "full", overwrite=True)
    with pytest.raises(TextkdError, match="the model itself lies in it"):
        export_onnx(source, source, overwrite=True)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(TextkdError, match="onnxscript not installed"):
        export_onnx(source, tmp_path / "out")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["full", "model"]
    assert (tmp_path / "full" / "mine.txt").exists()
