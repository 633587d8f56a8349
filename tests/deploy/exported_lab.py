"""Exported folders whose answers are known by a formula: a table of one row of logits for each word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from textkd.deploy import manifest
from textkd.deploy.manifest import MODEL, WORDS, Manifest

VOCABULARY = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "good", "bad", "Ada", "Lovelace", "sings", "-"])}
TABLE = np.random.default_rng(0).normal(size=(len(VOCABULARY), 3)).astype(np.float32)


def graph(kind: str, columns: int, external: str = "") -> onnx.ModelProto:
    """logits: of tokens the rows of the table; else their sum over the words that the mask counts."""
    table = numpy_helper.from_array(TABLE[:, :columns], "table")
    if external:
        table.ClearField("raw_data")
        table.data_location = TensorProto.EXTERNAL
        table.external_data.add(key="location", value=external)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"])]
    if kind == "tokens":
        nodes.append(helper.make_node("Identity", ["rows"], ["logits"]))
    else:
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["weights"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["weights", "last"], ["wide"]),
            helper.make_node("Mul", ["rows", "wide"], ["counted"]),
            helper.make_node("ReduceSum", ["counted", "tokens"], ["logits"], keepdims=0),
        ]
    shape = ["batch", "length", columns] if kind == "tokens" else ["batch", columns]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"])
              for n in ("input_ids", "attention_mask")]  # fmt: skip
    made = helper.make_graph(
        nodes, "sums", inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [table, numpy_helper.from_array(np.array([-1]), "last"), numpy_helper.from_array(np.array([1]), "tokens")],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def folder_with(folder: Path, kind: str = "classes", labels: tuple[str, ...] = ("a", "b", "c"), **more: Any) -> Path:
    """An exported folder; `more` are fields of its manifest."""
    folder.mkdir(parents=True)
    (folder / MODEL).write_bytes(graph(kind, len(labels), more.pop("external", "")).SerializeToString())
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.save(str(folder / WORDS))
    told: dict[str, Any] = {
        "kind": kind, "labels": list(labels), "max_length": 6, "inputs": ["input_ids", "attention_mask"],
        "pad": [0, "[PAD]", 0], "sums": manifest.sums_of(folder), **more,
    }  # fmt: skip
    (folder / manifest.FILE).write_text(Manifest(**told).text())
    return folder


def logits_of(text: str, columns: int = 3) -> Any:
    """What the table says of a text, by hand."""
    ids = [VOCABULARY.get(word, 1) for word in text.replace("-", " - ").split()][:6]
    return TABLE[ids, :columns].sum(0)
