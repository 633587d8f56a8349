"""Models whose config asks for other outputs, and tokenizers of other models: met before training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from spoil import copy_teacher
from tiny_lab import Tiny, make_teacher, make_tokenizer
from transformers import AutoModelForSequenceClassification

from textkd import Distiller, Match, TextkdError, tasks
from textkd.config import build
from textkd.experiment.finetune import Finetune
from textkd.models import loading

ODD = {"return_dict": False, "output_attentions": True, "output_hidden_states": True, "chunk_size_feed_forward": 2}


def edit(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_what_a_config_asks_of_outputs_changes_no_logit() -> None:
    def said(model: torch.nn.Module, rows: int) -> torch.Tensor:
        return model(input_ids=torch.arange(2, 2 + rows)[None])["logits"]

    model = make_teacher(attn_implementation="eager")
    wanted = said(model, 7)
    for name, value in ODD.items():
        setattr(model.config, name, value)
    for block in model.bert.encoder.layer:
        block.chunk_size_feed_forward = 2  # a row of seven tokens cannot be cut so
    with pytest.raises((TypeError, ValueError)):
        said(model, 7)
    loading.plain_outputs(model)
    assert torch.equal(said(model, 7), wanted)


@pytest.mark.long
def test_a_teacher_of_odd_outputs_is_distilled_and_its_student_answers_plainly(tiny: Tiny) -> None:
    recipe = tiny.recipe
    folder = copy_teacher(tiny)
    edit(folder / "config.json", **ODD, problem_type="multi_label_classification")
    recipe["teacher"]["path"] = str(folder)
    recipe["training"]["max_steps"] = 1
    student = build.from_recipe(tiny.write({**recipe, "control": False})).run().student
    model = AutoModelForSequenceClassification.from_pretrained(student)
    assert model.config.problem_type == "single_label_classification"
    assert model(torch.tensor([[2, 5, 3]])).logits.shape == (1, 2)
    results = json.loads((tiny.folder / "run" / "results.json").read_text())
    assert not [warning for warning in results["warnings"] if "published" in warning]


@pytest.mark.parametrize("what", ["a weight of the teacher", "a weight of the student", "a buffer", "a mask"])
def test_a_given_model_with_numbers_that_are_none_is_met_before_training(what: str, tiny: Tiny) -> None:
    models = {"teacher": make_teacher(layers=1), "student": make_teacher(layers=1)}
    side = "student" if "student" in what else "teacher"
    if "weight" in what:
        models[side].classifier.bias.data[0] = torch.nan
    else:
        models[side].register_buffer("held", torch.tensor([torch.nan if what == "a buffer" else -torch.inf]))
    task = tasks.glue("sst2", path=tiny.folder / "data")
    run = Distiller(models["teacher"], models["student"], task, [Match("labels")], tokenizer=make_tokenizer())
    if what == "a mask":
        assert run.start(side) is models[side]
    else:
        with pytest.raises(TextkdError, match=rf"the model {side}\n.* values of \S+ are not finite"):
            run.start(side)


def test_a_model_that_answers_in_another_way_is_met_before_training(tiny: Tiny) -> None:
    teacher = make_teacher()
    teacher.config.return_dict = False
    task = tasks.glue("sst2", path=tiny.folder / "data")
    run = Distiller(
        teacher, make_teacher(layers=1), task, [Match("labels")], {"output_dir": str(tiny.folder / "run")},
        tokenizer=make_tokenizer(),
    )  # fmt: skip
    with pytest.raises(
        TextkdError, match=r"answers of BertForSequenceClassification .*\n.* it fails on the first rows"
    ):
        run.check()


def test_a_tokenizer_with_ids_beyond_the_embeddings_is_met_before_training(tiny: Tiny) -> None:
    folder = copy_teacher(tiny)
    words = json.loads((folder / "tokenizer.json").read_text())
    words["model"]["vocab"]["good"] = 900  # as many words as before
    (folder / "tokenizer.json").write_text(json.dumps(words))
    recipe = tiny.recipe
    recipe["teacher"]["path"] = str(folder)
    with pytest.raises(TextkdError, match="ids up to 900, its embeddings 21 rows"):
        build.from_recipe(tiny.write(recipe)).check()


@pytest.mark.long
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_model_that_could_not_be_loaded_again_is_met_before_training(side: str, tiny: Tiny) -> None:
    """Its config makes another layer than the one that somebody put in."""
    models = {"teacher": make_teacher(), "student": make_teacher(1)}
    models[side].bert.pooler.dense = torch.nn.Linear(16, 16, bias=False)
    tuned = {"finetune": Finetune({"max_steps": 1}, tiny.folder / "teachers", "own")} if side == "teacher" else {}
    run = Distiller(
        **models, task=tasks.glue("sst2", path=tiny.folder / "data"), matches=[Match("labels")],
        args={"output_dir": str(tiny.folder / "run")}, tokenizer=make_tokenizer(), **tuned,
    )  # fmt: skip
    with pytest.raises(TextkdError, match=r"could not be loaded: its config makes a weight bert.pooler.dense.bias"):
        run.check()
