"""The text of a recipe: YAML 1.2's scalars, overrides, strict keys; and the Distiller that it makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from graph_lab import stages
from places import ROOT
from tiny_lab import Tiny, make_teacher, make_tokenizer
from transformers import BertForSequenceClassification

import textkd
from textkd import TextkdError
from textkd.config import build, recipe_file
from textkd.config.schema import Recipe
from textkd.config.validate import BLOCKS, validate
from textkd.training.arguments import argument_problems

RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("5.0e-5", 5e-5), ("-.5", -0.5), ("3", 3), ("-3", -3), ("1.5", 1.5), (".inf", float("inf")),
        ("'1e-4'", "1e-4"), ("no", "no"), ("on", "on"), ("true", True), ("False", False), ("~", None),
        ("[no, yes]", ["no", "yes"]), ("{1: 2, 2: 4}", {1: 2, 2: 4}), ("2026", 2026),
        ("1e-4x", "1e-4x"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = recipe_file.parse(text)
    assert found == value
    assert type(found) is type(value)


def test_merge_keys_still_work() -> None:
    text = "base: &base {loss: mse, weight: 1}\none:\n  <<: *base\n  weight: 2\n"
    assert recipe_file.parse(text)["one"] == {"loss": "mse", "weight": 2}


def test_a_key_twice_is_refused_at_any_depth() -> None:
    with pytest.raises(TextkdError, match="in line 2 and in line 4"):
        recipe_file.parse("training:\n  seed: 1\n  bf16: true\n  seed: 2\n")


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("training.seed=7", ("training", "seed"), 7),
        ("training.learning_rate=1e-4", ("training", "learning_rate"), 1e-4),
        ("matches.1.weight=0.5", ("matches", 1, "weight"), 0.5),
        ("matches.-1.layers={1: 2}", ("matches", 1, "layers"), {1: 2}),
        ("seeds=[1, 2]", ("seeds",), [1, 2]),
        ("seeds.0=3", ("seeds", 0), 3),
        ("task.where.source=a=b", ("task", "where", "source"), "a=b"),
        ("empty.seed=1", ("empty", "seed"), 1),
        ("about=", ("about",), None),
        ("map.2=3", ("map", 2), 3),
        ("map.1.x=3", ("map", 1, "x"), 3),
    ],
)
def test_overrides(text: str, path: tuple[Any, ...], value: Any) -> None:
    values: dict[str, Any] = {
        "matches": [{"tap": "labels"}, {"tap": "logits"}],
        "seeds": [1],
        "task": {},
        "empty": None,
        "map": {1: {}, 2: 4},
    }
    recipe_file.override(values, text)
    at: Any = values
    for part in path:
        at = at[part]
    assert at == value


def test_bad_values_are_left_out_so_that_the_rest_can_be_looked_at(tiny: Tiny) -> None:
    values = tiny.recipe | {"controll": 1, "seeds": "all"}
    values["matches"][0]["weigth"] = 1
    values["matches"][1]["weight"] = "much"
    before = yaml.safe_dump(values)
    made, problems = validate(values)
    assert {p.where for p in problems} == {"controll", "seeds", "matches[0].weigth", "matches[1].weight"}
    assert made is not None
    assert made.matches is not None
    assert [m.tap for m in made.matches] == ["labels", "logits", "hidden"]
    assert made.seeds is None
    assert yaml.safe_dump(values) == before


def test_a_member_of_a_wrong_type_hides_nothing(tiny: Tiny) -> None:
    values = tiny.recipe | {"max_length": "x"}
    values["matches"] = [5, {"tap": "logits", "wieght": 1}]
    del values["student"]
    values["chain"] = [7, {"name": "a"}]
    _, problems = validate(values)
    places = {"max_length", "matches[0]", "matches[1].wieght", "chain[0]", "chain[1].student"}
    assert {p.where for p in problems} == places


CHAIN = [{"name": "a", "student": {"shrink": {}}}]
COHORT = {"students": {"a": {"path": "x"}, "b": {"path": "y"}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teacher": {"recogniser": "x.onnx"}, "student": None, "chain": CHAIN}, ["teacher: ", "beside chain"]),
        ({"teacher": {"recogniser": "x.onnx"}, "student": None, "chain": CHAIN, "pseudo": {}}, ["teacher: "]),
        ({"student": None, "chain": CHAIN, "pseudo": {}}, ["pseudo: ", "beside chain"]),
        ({"student": None, "cohort": COHORT, "pseudo": {}}, ["pseudo: ", "beside cohort"]),
        ({"teacher": {"recogniser": ""}}, ["teacher.recogniser: ", "no path of a file"]),
        ({"teacher": {"recogniser": "", "path": "x"}}, ["teacher.recogniser: ", "leave it out, and give path"]),
        ({"pseudo": True}, ["pseudo: ", "not a block", "give a block: {} for all defaults"]),
        ({"matches": [5]}, ["matches[0]: ", "not a block", "give a block, as {tap: logits}"]),
        ({"student": None, "chain": [5]}, ["chain[0]: ", "give a block, as {name: assistant"]),
    ],
)
def test_words_that_can_be_followed(change: dict[str, Any], words: list[str], tiny: Tiny) -> None:
    values = {key: value for key, value in {**tiny.recipe, **change}.items() if value is not None}
    (only,) = validate(values)[1]
    assert [word for word in words if word not in str(only)] == []


def test_required_blocks_are_named_when_absent() -> None:
    made, problems = validate({"teacher": {"finetune": {}}})
    assert {p.where for p in problems} == {"task", "student", "teacher.path"}
    assert made is not None
    _, problems = validate({"task": {}, "student": {"path": "-"}, "teacher": "folder"})
    assert [p.where for p in problems] == ["teacher"]


def test_every_key_is_documented() -> None:
    undocumented = {
        f"{block.__name__}.{key}"
        for block in BLOCKS.values()
        for key in (field.alias or name for name, field in block.model_fields.items())
        if not re.search(rf"\b{key}\b", block.__doc__ or "")
    }
    assert undocumented == set()


def test_every_block_is_on_the_page_of_recipes() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    assert [key for key in Recipe.model_fields if not re.search(rf"^#+ .*\b{key}\b|`{key}\b", page, re.M)] == []


def test_the_page_of_recipes_shows_two_students_of_a_cohort(tiny: Tiny) -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    (shown,) = re.findall(r"```yaml\n(cohort:\n.*?)```", page, re.DOTALL)
    make_teacher(6).save_pretrained(tiny.folder / "bert")
    make_tokenizer().save_pretrained(tiny.folder / "bert")
    cohort = yaml.safe_load(shown.replace("bert-base-uncased", str(tiny.folder / "bert")))
    values = {key: value for key, value in tiny.recipe.items() if key not in ("teacher", "student", "matches")}
    made = build.from_recipe(tiny.write(values | cohort))
    made.check()
    assert list(made.experiment.models) == ["small", "tiny", "control"]


def test_the_rows_of_a_fraction_are_read_in_python(tiny: Tiny) -> None:
    """As the page of recipes shows it."""
    train = tiny.folder / "data" / "train.tsv"
    task = {"name": "text", "train": str(train), "text": "sentence", "label": "label", "eval": {"fraction": 0.25}}
    rows = textkd.from_recipe(tiny.write(tiny.recipe | {"task": task})).task.load("eval")
    texts = [line.split("\t")[0] for line in train.read_text().splitlines()[1:]]
    assert len(rows) == round(len(texts) / 4)
    assert set(rows["text_a"]) <= set(texts)


def test_the_words_of_a_recipe_reach_the_distiller(tiny: Tiny) -> None:
    values = tiny.recipe | {"control": False, "seeds": [3, 4], "max_length": 16, "about": "what it does"}
    made = build.from_recipe(tiny.write(values), ["training.learning_rate=2e-3", "matches.0.weight=0.7"])
    assert (made.experiment.report.control, made.seeds, made.setup.rows.max_length, made.name) == (
        "",
        (3, 4),
        16,
        "tiny",
    )
    assert "control" not in made.experiment.models
    (stage,) = stages(made)
    assert made.experiment.training("student").arguments(stage)["learning_rate"] == 2e-3
    assert stage.matches[0].weight == 0.7
    assert made.folder.path == tiny.folder / "run"
    assert max(made.data.train["length"]) <= 16


def test_about_and_output_dir_do_not_make_another_run(tiny: Tiny) -> None:
    one, same, other = (
        build.from_recipe(tiny.write(tiny.recipe | more), words).fingerprint
        for more, words in (({}, []), ({"about": "x"}, ["training.output_dir=elsewhere"]), ({}, ["matches.0.weight=9"]))
    )
    assert one == same != other


def test_the_length_of_rows_fits_the_models_by_default(tiny: Tiny) -> None:
    file = tiny.folder / "data2" / "train.tsv"
    file.parent.mkdir()
    file.write_text("sentence\tlabel\n" + f"{'good ' * 60}\t1\n" * 4)
    (file.parent / "dev.tsv").write_text(file.read_text())
    made = build.from_recipe(tiny.write(tiny.recipe), [f"task.path={file.parent}"])
    made.check()
    assert max(made.data.train["length"]) == 40


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"num_train_epochs": "3"}, "without quotes: 3.0"),
        ({"warmup_steps": -1}, "0 or more"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"bf16": "maybe"}, "true or false"),
        ({"num_train_epochs": 1e300}, "up to 1000000"),
        ({"per_device_train_batch_size": 2**60}, "a whole number of 1 or more, up to 1048576"),
        ({"gradient_accumulation_steps": 2**60}, "up to 1048576"),
        ({"seed": 10**18}, "up to 4294966"),
        ({"max_steps": 2**60}, "up to 2147483647"),
        ({"save_total_limit": 2**60}, "up to 2147483647"),
        ({"report_to": 3}, "text"),
        ({"remove_unused_columns": True}, "textkd sets this itself"),
    ],
)
def test_values_of_arguments(training: dict[str, Any], words: str) -> None:
    (only,) = argument_problems(training)
    assert words in str(only)
    assert only.where == next(iter(training))


@pytest.mark.parametrize(
    "training",
    [
        {
            "num_train_epochs": 2,
            "learning_rate": 1,
            "bf16": "auto",
            "warmup_steps": 0.06,
            "lr_scheduler_type": "cosine",
        },
        {"optim_args": "a=1", "report_to": ["none"], "max_steps": -1, "save_strategy": "no", "eval_steps": 0.1},
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": 1}},
        {"gradient_checkpointing_kwargs": {"use_reentrant": False}},
        {"max_grad_norm": 10**10, "num_train_epochs": 1_000_000, "per_device_train_batch_size": 2**20},
    ],
)
def test_good_arguments(training: dict[str, Any]) -> None:
    assert argument_problems(training) == []


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipes_of_the_project_have_good_keys_and_say_what_they_do(file: Path) -> None:
    made, _ = build.read(file)
    assert made.about
    teachers = [one for one in (made.teacher, *(made.teachers or {}).values()) if one is not None]
    finetunes = [one.finetune.training for one in teachers if one.finetune is not None]
    links = [link.training for link in made.chain or ()]
    training = [made.training, *finetunes, *links, *(stage.training for stage in made.stages or ())]
    assert [p for block in training for p in argument_problems(block)] == []


def test_a_teacher_of_another_task_gets_a_new_head_if_it_is_fine_tuned(tiny: Tiny) -> None:
    config = make_teacher().config
    config.num_labels = 3
    other = BertForSequenceClassification(config)
    other.save_pretrained(tiny.folder / "other")
    make_tokenizer().save_pretrained(tiny.folder / "other")
    values = tiny.recipe
    values["teacher"] = {"path": str(tiny.folder / "other"), "finetune": {"num_train_epochs": 1}}
    teacher = build.from_recipe(tiny.write(values)).start("teacher")
    assert teacher.classifier.weight.shape == (2, 16)
    assert torch.equal(teacher.bert.pooler.dense.weight, other.bert.pooler.dense.weight)
    del values["teacher"]["finetune"]
    with pytest.raises(TextkdError, match="a head of 3 outputs"):
        build.from_recipe(tiny.write(values)).check()
