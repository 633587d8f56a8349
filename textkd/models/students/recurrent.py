"""Students that are no transformers: a BiLSTM (Tang et al. 2019) or a TextCNN over the teacher's word pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from textkd.errors import Problem, fail, problem
from textkd.models.own.bilstm import BilstmConfig, BilstmForSequenceClassification, BilstmForTokenClassification
from textkd.models.own.textcnn import TextCnnConfig, TextCnnForSequenceClassification
from textkd.models.students.copying import is_two_sided

TEACHER = "teacher"
BOTH = ("kind", "embedding", "dense", "dropout")
KINDS = {"bilstm": ("hidden", "layers"), "textcnn": ("filters", "widths")}
OPTIONS = (*BOTH, *(name for names in KINDS.values() for name in names))
DEFAULTS: dict[str, Any] = {
    "hidden": 150,
    "layers": 1,
    "filters": 100,
    "widths": (3, 4, 5),
    "dense": 200,
    "dropout": 0.1,
}
MOST = {"layers": 32, "widths": 512}  # of others 65,536
IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
LABELS = ("id2label", "label2id", "problem_type")


def recurrent_problems(block: Any) -> Iterator[Problem]:
    """What is wrong with a block `recurrent`, whatever model it is for.

    Args:
        block: as it was written.

    Example:
        >>> print(*recurrent_problems({"kind": "bilstm", "hidden": 0}))
        recurrent.hidden: asked: student recurrent hidden: 0
          found: not a number from 1 to 65,536
          fix: hidden: 150, say
        >>> print(*recurrent_problems({"kind": "lstm"}))
        recurrent.kind: asked: student recurrent kind: 'lstm'
          found: no such kind
          nearest: bilstm
          fix: one of bilstm, textcnn
    """
    if not isinstance(block, Mapping):
        fix = "recurrent: {kind: bilstm, hidden: 150}"
        yield problem(f"student recurrent: {block!r}", "not a block of keys", fix=fix, where="recurrent")
        return
    kind = block.get("kind")
    kind = kind if isinstance(kind, str) else repr(kind)
    if kind not in KINDS:
        found = "no such kind" if "kind" in block else "it does not say which kind"
        yield problem(f"student recurrent kind: {block.get('kind')!r}", found, near=(str(kind), KINDS),
                      fix=f"one of {', '.join(KINDS)}", where="recurrent.kind")  # fmt: skip
    for key, value in block.items():
        asked, where = f"student recurrent {key}: {value!r}", f"recurrent.{key}"
        if key not in OPTIONS:
            fix = f"keys: {', '.join((*BOTH, *KINDS.get(str(kind), OPTIONS[len(BOTH) :])))}"
            yield problem(f"student recurrent key {key}", "no such key", near=(str(key), OPTIONS), fix=fix, where=where)
        elif kind in KINDS and key not in (*BOTH, *KINDS[kind]):
            other = next(name for name, names in KINDS.items() if key in names)
            yield problem(f"student recurrent {key}", f"that is of a {other}", where=where,
                          fix=f"leave it out, or give {' and '.join(KINDS[kind])}")  # fmt: skip
        elif found := _wrong(key, value):
            default = [*DEFAULTS[key]] if key == "widths" else DEFAULTS.get(key, TEACHER)
            yield problem(asked, found, fix=f"{key}: {default}, say", where=where)


def _wrong(key: str, value: Any) -> str:
    """What is wrong with a value; "" where nothing is."""
    if key == "kind" or (key == "embedding" and value == TEACHER):
        return ""
    if key == "dropout":
        return "" if type(value) in (int, float) and 0 <= value < 1 else "not a rate from 0 to below 1"
    most = MOST.get(key, 65536)
    if key == "widths":
        listed = isinstance(value, list | tuple) and bool(value) and len(value) <= 32
        fits = listed and all(type(one) is int and 1 <= one <= most for one in value)
        return "" if fits else f"not a list of numbers from 1 to {most}, how many pieces a filter sees"
    word = "neither teacher nor a number" if key == "embedding" else "not a number"
    return "" if type(value) is int and 1 <= value <= most else f"{word} from 1 to {most:,}"


def from_recurrent(teacher: PreTrainedModel, block: Mapping[str, Any]) -> PreTrainedModel:
    """A BiLSTM or a TextCNN for what a teacher does, over its word pieces.

    A pair of texts is one row, with the tokenizer's separator between them. What it saves loads through textkd alone.

    Args:
        teacher: gives the vocabulary, the labels and (embedding: teacher) the embeddings of its words. Not changed.
        block: {"kind": "bilstm", "hidden": 150 a direction, "layers": 1} or {"kind": "textcnn", "filters": 100 of each
            width, "widths": [3, 4, 5]}; for both embedding: "teacher" (a copy of the teacher's, the default) or a width
            (random ones), dense: 200, dropout: 0.1.

    Returns:
        A model in eval mode, float32; what is not copied comes from torch's global random state.

    Raises:
        TextkdError: with every problem of the block; a teacher that does not classify texts or tokens.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> teacher = BertForSequenceClassification(BertConfig(num_hidden_layers=1, num_labels=3, **sizes))
        >>> student = from_recurrent(teacher, {"kind": "bilstm", "hidden": 4})
        >>> student(torch.tensor([[1, 2, 3]])).logits.shape, student.config.embedding_size
        (torch.Size([1, 3]), 8)
    """
    kind, words = str(block["kind"]), _words(teacher, str(block["kind"]))
    made = {**DEFAULTS, **block}
    size = words.embedding_dim if made.get("embedding", TEACHER) == TEACHER else int(made["embedding"])
    config = {"vocab_size": words.num_embeddings, "embedding_size": size, "dense_size": made["dense"],
              "hidden_dropout_prob": float(made["dropout"])}  # fmt: skip
    config |= {name: getattr(teacher.config, name) for name in (*IDS, *LABELS) if hasattr(teacher.config, name)}
    per_token = type(teacher).__name__.endswith("ForTokenClassification")
    student: PreTrainedModel
    if kind == "bilstm":
        sizes = BilstmConfig(direction_size=made["hidden"], num_hidden_layers=made["layers"], **config)
        student = (BilstmForTokenClassification if per_token else BilstmForSequenceClassification)(sizes)
    else:
        student = TextCnnForSequenceClassification(
            TextCnnConfig(filters=made["filters"], widths=made["widths"], **config)
        )
    if made.get("embedding", TEACHER) == TEACHER:
        with torch.no_grad():
            student.get_input_embeddings().weight.copy_(words.weight)
    return student.eval()


def _words(teacher: Any, kind: str) -> nn.Embedding:
    """The table of a teacher's words. Raises `TextkdError` where it does what a student of this kind cannot."""
    asked, name, where = f"student recurrent kind: {kind}", type(teacher).__name__, "recurrent"
    if is_two_sided(teacher):
        fix = "a smaller reader: {shrink: {decoder_layers: 2}}"
        raise fail(asked, f"{name} reads lines in images, and a {kind} word pieces", fix=fix, where=where)
    tasks = ("ForSequenceClassification", *(("ForTokenClassification",) if kind == "bilstm" else ()))
    if not name.endswith(tasks):
        fix = "kind: bilstm" if name.endswith("ForTokenClassification") else "{shrink: ...} in its place"
        what = "texts" + (" and tokens" if kind == "bilstm" else "")
        raise fail(asked, f"a {kind} classifies {what}, and the model that it is made of is a {name}", fix=fix,
                   where=where)  # fmt: skip
    words = teacher.get_input_embeddings()
    if not isinstance(words, nn.Embedding):
        fix = "{shrink: ...} in its place"
        raise fail(asked, f"the words of {name} are a {type(words).__name__}, no table", fix=fix, where=where)
    return words
