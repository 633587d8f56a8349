"""However a batch is cut, over time or over processes, the training is the same. All through the command line."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from drive import ACCELERATE, TORCHRUN, differences, launch, launch_forked, losses, textkd, weights
from tiny_lab import BAD, GOOD, WORDS, Tiny, make_teacher, make_tokenizer, write_tsv

EVERYTHING = [
    {"tap": "labels", "weight": 0.3},
    {"tap": "logits", "loss": "kl", "temperature": 2, "weight": 0.7},
    {"tap": "hidden", "loss": "mse", "layers": "uniform"},
    {"tap": "attention", "loss": "mse", "layers": {1: 2, 2: 4}, "weight": 5},
    {"tap": "scores", "loss": "mse", "layers": {1: 2}, "weight": 0.1},
]


def uneven(count: int, seed: int) -> list[tuple[str, int]]:
    """Sentences of 1 to 30 words."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        words = rng.choices(WORDS, k=rng.choice([1, 2, 3, 8, 15, 30]))
        rows.append((" ".join(words), int(sum(w in GOOD for w in words) > sum(w in BAD for w in words))))
    return rows


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher without dropout, and rows that do not fill the last batch (77 = 9 x 8 + 5)."""
    folder = tmp_path_factory.mktemp("steady")
    model = make_teacher(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.save_pretrained(folder / "teacher")
    make_tokenizer().save_pretrained(folder / "teacher")
    write_tsv(folder / "data" / "train.tsv", uneven(77, 3))
    write_tsv(folder / "data" / "dev.tsv", uneven(24, 4))
    write_tsv(folder / "even" / "train.tsv", uneven(64, 3))
    write_tsv(folder / "even" / "dev.tsv", uneven(24, 4))
    return folder


def recipe(steady: Path, run: Path, batch: int, accumulate: int = 1, **training: Any) -> dict[str, Any]:
    return {
        "task": {"name": "glue", "subset": "sst2", "path": str(steady / "data")},
        "teacher": {"path": str(steady / "teacher")},
        "student": {"shrink": {"layers": [2, 4]}},
        "training": {
            "num_train_epochs": 2, "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate,
            "optim": "sgd", "learning_rate": 0.05, "logging_steps": 1, "train_sampling_strategy": "random",
            "per_device_eval_batch_size": 12, "output_dir": str(run), **training,
        },
        "matches": EVERYTHING, "control": False, "seeds": [1],
    }  # fmt: skip


def narrow(values: dict[str, Any]) -> dict[str, Any]:
    """Two stages over a narrower student: projections, frozen parts, and a stage that does not look at the logits."""
    values["student"] = {"config": {"num_hidden_layers": 2, "hidden_size": 12, "intermediate_size": 24}}
    hidden = {"tap": "hidden", "loss": "mse", "layers": "uniform"}
    first = {"matches": [hidden], "frozen": ["bert.embeddings"]}
    values["stages"] = [first, {"matches": [{"tap": "labels"}, {"tap": "logits"}, hidden]}]
    del values["matches"]
    return values


def finished(values: dict[str, Any], folder: Path, name: str) -> Path:
    ended = textkd("run", Tiny(folder).write(values, f"{name}.yaml"), folder=folder)
    assert ended.code == 0, ended.said
    return Path(values["training"]["output_dir"])


@pytest.mark.slow
@pytest.mark.parametrize("order", ["random", "group_by_length"])
def test_batch_2_times_4_is_batch_8(order: str, steady: Path, tmp_path: Path) -> None:
    whole = finished(recipe(steady, tmp_path / "a", 8, train_sampling_strategy=order), tmp_path, "a")
    cut = finished(recipe(steady, tmp_path / "b", 2, 4, train_sampling_strategy=order), tmp_path, "b")
    a, b = losses(whole), losses(cut)
    assert {name.partition(":")[0] for _, name in a} >= {
        "loss",
        "labels/cross_entropy",
        "logits/kl",
        "hidden",
        "attention",
        "scores",
    }
    assert max(step for step, _ in a) == 20
    assert differences(a, b) < 1e-5
    assert differences(weights(whole / "seed-1" / "student"), weights(cut / "seed-1" / "student")) < 1e-5


BOTH = [
    pytest.param(None, "random", id="forked"),
    pytest.param(ACCELERATE, "random", id="accelerate", marks=pytest.mark.slow),
    pytest.param(TORCHRUN, "group_by_length", id="torchrun", marks=pytest.mark.slow),
]


@pytest.mark.long
@pytest.mark.parametrize(("command", "order"), BOTH)
def test_two_processes_are_one(command: list[str] | None, order: str, steady: Path, tmp_path: Path) -> None:
    def values(run: str, batch: int) -> dict[str, Any]:
        made = narrow(recipe(steady, tmp_path / run, batch, train_sampling_strategy=order))
        made["task"]["path"] = str(steady / "even")
        return made

    one = finished(values("one", 8), tmp_path, "one")
    file = Tiny(tmp_path).write(values("two", 4), "two.yaml")
    if command is None:
        launch_forked(file, tmp_path)
    else:
        launch(command, file, tmp_path)
    assert differences(losses(one), losses(tmp_path / "two")) < 1e-5
    assert differences(weights(one / "seed-1" / "student"), weights(tmp_path / "two" / "seed-1" / "student")) < 1e-5
