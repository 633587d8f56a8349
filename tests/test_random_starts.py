"""What starts random starts from its own seed, whatever was drawn before, and others draw on as if it had not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graph_lab import begin
from ocr_lab import Reading
from second_proofs import but_few
from tiny_lab import Tiny, make_teacher, make_tokenizer

from textkd import Distiller, Match, from_recipe, tasks
from textkd.experiment.finetune import Finetune
from textkd.experiment.models import Models


def draw(seed: int) -> None:
    """Other random numbers for all that is not seeded."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def state() -> tuple[Any, ...]:
    return random.getstate()[1], np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.fixture
def body(tiny: Tiny) -> Tiny:
    """A teacher without a head for any task."""
    folder = tiny.folder / "body"
    make_teacher().bert.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return tiny


def recipe(body: Tiny, run: str, seeds: list[int], **finetune: Any) -> dict[str, Any]:
    values = body.recipe
    values["teacher"] = {
        "path": str(body.folder / "body"), "keep": str(body.folder / f"{run}-teachers"),
        "finetune": {"num_train_epochs": 1, "logging_steps": 1, **finetune},
    }  # fmt: skip
    values["training"] |= {"num_train_epochs": 1, "output_dir": str(body.folder / run)}
    return values | {"seeds": seeds, "control": False, "matches": [{"tap": "logits"}, {"tap": "hidden"}]}


def head(model: Any) -> torch.Tensor:
    return model.classifier.weight


def histories(folder: Path, role: str) -> list[Any]:
    runs = json.loads((folder / "results.json").read_text())["models"][role]["runs"]
    return [[(row["step"], row["loss"], row["parts"]) for row in run["history"]] for run in runs]


@pytest.mark.slow
def test_two_runs_are_equal_and_two_seeds_are_not(body: Tiny) -> None:
    found = []
    for number, run in enumerate(("one", "two")):
        draw(number)
        from_recipe(body.write(recipe(body, run, [1, 2]))).run()
        found.append([histories(body.folder / run, role) for role in ("teacher", "student")])
    assert found[0] == found[1]
    (first, second), _ = found[0]
    assert first[0][1] != second[0][1]


@pytest.mark.long
def test_heads_go_by_the_seed_of_the_teacher(body: Tiny) -> None:
    draw(0)
    one = from_recipe(body.write(recipe(body, "run", [1])))
    draw(1)
    two = from_recipe(body.write(recipe(body, "run", [1])))
    assert torch.equal(*(head(begin(run, "teacher", 5)) for run in (one, two)))
    assert not torch.equal(*(head(begin(one, "teacher", seed)) for seed in (5, 6)))
    assert torch.equal(head(one.start("teacher")), head(two.start("teacher")))


@pytest.mark.long
def test_a_seed_among_the_arguments_is_the_heads(body: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    build = Models._build

    def counted(self: Models, name: str, models: dict[str, Any], seed: int) -> Any:
        seen.extend([seed] if name == "teacher" else [])
        return build(self, name, models, seed)

    monkeypatch.setattr(Models, "_build", counted)
    from_recipe(body.write(recipe(body, "run", [1, 2], seed=7))).run()
    assert seen == [1, 7]  # for the check, and once for both seeds


def test_a_function_that_makes_a_teacher(tiny: Tiny) -> None:
    task = tasks.glue("sst2", tiny.folder / "data")
    tuned = Finetune({"num_train_epochs": 1}, tiny.folder / "kept", "key")

    def made() -> Any:
        model = make_teacher()
        torch.nn.init.normal_(model.classifier.weight)
        return model

    def random_one() -> Any:
        with torch.random.fork_rng():
            model = make_teacher()
        torch.nn.init.normal_(model.classifier.weight)
        return model

    for make, differs in ((made, False), (random_one, True)):
        draw(0)
        one = Distiller(make, lambda teacher, _: teacher, task, [Match("logits")], finetune=tuned)
        draw(1)
        two = Distiller(make, lambda teacher, _: teacher, task, [Match("logits")], finetune=tuned)
        assert torch.equal(*(head(begin(run, "teacher", 3)) for run in (one, two)))
        assert torch.equal(*(head(begin(one, "teacher", seed)) for seed in (3, 4))) is not differs


STUDENTS: dict[str, Callable[[Tiny], dict[str, Any]]] = {
    "shrink": lambda tiny: {"shrink": {"layers": [2, 4]}},
    "grow": lambda tiny: {"shrink": {"layers": [2, 4]}, "grow": {"wider": {"ffn": 40}, "noise": 0.1}},
    "path": lambda tiny: {"path": str(tiny.folder / "body")},
    "config": lambda tiny: {"config": {"hidden_size": 8, "num_attention_heads": 4}},
}


@pytest.mark.parametrize("kind", but_few(STUDENTS, "path"))
def test_students_and_checks(kind: str, body: Tiny) -> None:
    values = recipe(body, "run", [1]) | {"student": STUDENTS[kind](body)}
    made = []
    for number in range(2):
        draw(number)
        before = state()
        distiller = from_recipe(body.write(values))
        distiller.check()
        teacher = begin(distiller, "teacher", 1)
        made.append([head(begin(distiller, "student", seed, teacher=teacher)) for seed in (1, 2)])
        assert state() == before
    assert torch.equal(made[0][0], made[1][0])
    assert torch.equal(made[0][0], made[0][1]) is (kind in ("shrink", "grow"))


def test_a_new_reader_of_lines(tmp_path: Path) -> None:
    made = []
    for number in range(2):
        draw(number)
        before = state()
        distiller = from_recipe(Reading(tmp_path).write(Reading(tmp_path).recipe))
        made.append(distiller.start("teacher").decoder.output_projection.weight)
        assert state() == before
    assert torch.equal(made[0], made[1])
