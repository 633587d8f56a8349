"""What tests of graphs share: models as their training begins, what was trained, what a run found, more teachers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tiny_lab import WORDS, Tiny, make_teacher, make_tokenizer
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from textkd.experiment import run
from textkd.experiment.distiller import Run
from textkd.training.stages import Stage


def begin(made: Run, model: str, seed: int, **ends: Any) -> Any:
    """A model as its training begins. ends: models that it is made from, as they end; else as they start."""
    training = made.experiment.trainer_of(model)
    assert training is not None
    reads = made.experiment.models[model].source.reads
    return made.setup.models.fresh(training, seed, {name: made.start(name) for name in reads} | ends)[model]


def stages(made: Run, training: str = "student") -> tuple[Stage, ...]:
    """The stages of a training."""
    return made.experiment.training(training).stages


def home(made: Run, model: str, seed: int) -> Path:
    """The folder of a model that is trained."""
    node = made.runner.node_of(model, seed)
    assert node is not None
    return made.runner.homes(node)[model]


def count_trainings(monkeypatch: Any) -> list[str]:
    """The labels of the nodes that are trained from now on, as "student"."""
    trained: list[str] = []
    original = run.run_stages

    def counted(*args: Any, **kwargs: Any) -> Any:
        trained.append(args[7])
        return original(*args, **kwargs)

    monkeypatch.setattr(run, "run_stages", counted)
    return trained


def results(folder: Path) -> dict[str, Any]:
    """What a finished run wrote down."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def figures(folder: Path) -> dict[str, Any]:
    """What a run says of its models, without what every measuring finds anew."""
    models = results(folder)["models"]
    kept = ("description", "architecture", "path", "parameters", "taught_by", "runs", "disk_mb")
    return {name: {key: row[key] for key in kept if key != "path" or name != "teacher"} for name, row in models.items()}


def other_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of other words: those of the tiny one in another order, one missing, three more."""
    inner = json.loads(make_tokenizer().backend_tokenizer.to_str())
    special = list(inner["model"]["vocab"])[:5]
    words = [*special, "boring", *reversed(WORDS[1:]), "clever", "loud"]
    inner["model"]["vocab"] = {word: number for number, word in enumerate(words)}
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(inner)), **names,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def save_teacher(folder: Path, seed: int, words: Any = None, **settings: Any) -> Path:
    """One more tiny teacher, with the weights of `seed`; words: a tokenizer, if it has another one."""
    tokenizer = words or make_tokenizer()
    values = {**make_teacher().config.to_dict(), "vocab_size": len(tokenizer), **settings}
    torch.manual_seed(seed)
    BertForSequenceClassification(BertConfig(**values)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def short(tiny: Tiny, *without: str, **words: Any) -> dict[str, Any]:
    """The tiny recipe with two steps, and other words."""
    values = {key: value for key, value in tiny.recipe.items() if key not in without} | words
    values["training"] = {**tiny.recipe["training"], "max_steps": 2, **words.get("training", {})}
    return values
