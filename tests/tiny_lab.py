"""Tiny random models, a tokenizer and labelled files, made anew in a temporary folder; nothing comes from a network."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import random
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import yaml
from accelerate.utils import memory
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from textkd.experiment import benchmark
from textkd.report import plots

# whole runs time their models; no test looks at how well
benchmark.ROUNDS, benchmark.ROUNDS_OF_TEXTS, benchmark.WARMUP = 1, 1, 0


class Paper:
    """A figure, or anything of one, on which everything can be drawn and nothing is."""

    def __getattr__(self, name: str) -> Paper:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Paper:
        return self

    def __getitem__(self, key: Any) -> Paper:
        return self

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Paper]:
        return itertools.repeat(self, 100)  # axes: more than any report has


# A picture costs a second and most reports are written for their words: drawn only under `whole_pictures`
DRAWING = {name: getattr(plots, name) for name in ("data_address", "settings", "Figure")}
EMPTY = "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()
plots.data_address, plots.settings, plots.Figure = lambda figure: EMPTY, contextlib.nullcontext, Paper()

# Before each training accelerate looks for garbage among all that torch and transformers are made of
memory.gc = types.SimpleNamespace(collect=lambda: 0)

WORDS = [
    "film", "plot", "actor", "scene", "good", "fine", "great", "bad", "dull", "awful", "very", "not", "quite", "and",
    "the", "a",
]  # fmt: skip
GOOD, BAD = {"good", "fine", "great"}, {"bad", "dull", "awful"}


def make_tokenizer() -> PreTrainedTokenizerFast:
    vocab = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, **names, model_input_names=["input_ids", "token_type_ids", "attention_mask"]
    )


def make_teacher(layers: int = 4, hidden: int = 16, **settings: object) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5 + len(WORDS), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=2 * hidden, max_position_embeddings=40, id2label={0: "0", 1: "1"}, label2id={"0": 0, "1": 1},
        initializer_range=0.2, **settings,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def sentences(count: int, seed: int) -> list[tuple[str, int]]:
    rng, rows = random.Random(seed), []
    for _ in range(count):
        words = [*rng.choices(WORDS, k=rng.randint(2, 12)), rng.choice(sorted(GOOD | BAD))]
        rng.shuffle(words)
        rows.append((" ".join(words), int(sum(w in GOOD for w in words) > sum(w in BAD for w in words))))
    return rows


def write_tsv(file: Path, rows: list[tuple[str, int]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")


@dataclass
class Tiny:
    """A folder with a teacher, SST-2 style data, and recipes over both."""

    folder: Path

    @property
    def recipe(self) -> dict:
        return {
            "task": {"name": "glue", "subset": "sst2", "path": str(self.folder / "data")},
            "teacher": {"path": str(self.folder / "teacher")},
            "student": {"shrink": {"layers": [2, 4]}},
            "training": {
                "num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 1e-3, "logging_steps": 1,
                "output_dir": str(self.folder / "run"),
            },
            "matches": [
                {"tap": "labels", "weight": 0.2},
                {"tap": "logits", "loss": "kl", "temperature": 2, "weight": 0.8},
                {"tap": "hidden", "loss": "mse", "layers": "uniform"},
            ],
            "seeds": [1],
        }  # fmt: skip

    def write(self, recipe: dict, name: str = "tiny.yaml") -> Path:
        file = self.folder / name
        file.write_text(yaml.safe_dump(recipe, sort_keys=False))
        return file
