"""What is wrong with teachers, and where it is told: names, paths, padding, matches that a block does not have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command_line import textkd
from graph_lab import short
from tiny_lab import Tiny, make_teacher, make_tokenizer
from transformers import RobertaConfig, RobertaForTokenClassification

from textkd import TextkdError
from textkd.config import build
from textkd.errors import Collector, Problem
from textkd.experiment import unread
from textkd.experiment.padding import check, padding_problem
from textkd.experiment.plan import ModelSpec, Source
from textkd.teachers import CacheOptions

LABELS = {"tap": "labels"}


def told(tiny: Tiny, **changes: Any) -> list[tuple[str, str]]:
    """(place, what is asked) of all problems of a recipe."""
    with pytest.raises(TextkdError) as raised:
        build.from_recipe(tiny.write({**tiny.recipe, **changes})).check()
    return [(p.where, p.asked) for p in raised.value.problems]


def test_a_misnamed_teacher_hides_neither_its_path_nor_those_of_others(tiny: Tiny) -> None:
    recipe = tiny.recipe
    recipe.pop("teacher")
    gone = {name: {"path": f"/nowhere/{name}"} for name in ("con trol", "other")}
    student = {"shrink": {"layers": [2]}, "from": "con trol"}
    with pytest.raises(TextkdError) as raised:
        build.from_recipe(tiny.write({**recipe, "teachers": gone, "student": student}))
    assert [(p.where, p.asked) for p in raised.value.problems] == [
        ("teachers.con trol", "a teacher named con trol"),
        ("teachers.con trol", "the folder /nowhere/con trol"),
        ("teachers.other", "the folder /nowhere/other"),
    ]


def test_names_of_a_cohort_are_told_with_their_paths(tiny: Tiny) -> None:
    recipe = tiny.recipe
    recipe.pop("student")
    recipe["matches"] = [LABELS]
    recipe["teacher"] = {"path": "/nowhere/big"}
    recipe["cohort"] = {"students": {name: {"path": f"/nowhere/{name}"} for name in ("control", "ok")}}
    with pytest.raises(TextkdError) as raised:
        build.from_recipe(tiny.write(recipe))
    places = {p.where for p in raised.value.problems}
    assert places == {"teacher", "cohort.students.control", "cohort.students.ok"}


def test_the_paths_of_teacher_and_student_are_told_together(tiny: Tiny) -> None:
    found = told(tiny, teacher={"path": "/nowhere/a"}, student={"path": "/nowhere/b"})
    assert found == [("teacher", "the folder /nowhere/a"), ("student", "the folder /nowhere/b")]


BAD, FULL = {"tap": "logitz"}, {"dataloader_drop_last": True, "per_device_train_batch_size": 100}
PLACES: list[tuple[dict[str, Any], str]] = [
    ({"stages": [{"matches": [BAD]}]}, "teacher.finetune.stages[0].matches[0].tap"),
    ({"matches": [BAD]}, "teacher.finetune.matches[0].tap"),
    ({"matches": [LABELS], **FULL}, "teacher.finetune.matches"),
    (FULL, "teacher.finetune"),
]


@pytest.mark.long
@pytest.mark.parametrize(("finetune", "due"), PLACES, ids=[place for _, place in PLACES])
def test_a_problem_of_matches_stands_where_they_are_written(finetune: dict[str, Any], due: str, tiny: Tiny) -> None:
    found = told(tiny, teacher={**tiny.recipe["teacher"], "finetune": {"num_train_epochs": 1, **finetune}})
    assert [where for where, _ in found] == [due]


def test_of_a_link_too(tiny: Tiny) -> None:
    recipe = tiny.recipe
    recipe["chain"] = [{"name": "one", "student": recipe.pop("student"), "stages": [{"matches": [BAD]}]}]
    recipe.pop("matches")
    with pytest.raises(TextkdError) as raised:
        build.from_recipe(tiny.write(recipe)).check()
    assert [p.where for p in raised.value.problems] == ["chain[0].stages[0].matches[0].tap"]


def padded(side: str, model: Any) -> Problem | None:
    words = make_tokenizer()
    words.padding_side = side
    return padding_problem(words, model)


def test_padding_in_front_is_judged_by_what_the_model_answers() -> None:
    bert = make_teacher(layers=1)
    assert padded("right", bert) is None
    assert "in front" in str(padded("left", bert))
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    assert padded("left", RobertaForTokenClassification(config).eval()) is None  # by the text


def test_a_cache_has_no_padding_in_front_even_of_a_model_that_minds_none() -> None:
    words, found = make_tokenizer(), Collector()
    words.padding_side = "left"
    models = {"big": ModelSpec("big", Source(lambda models, seed: None), where="teacher", cache=CacheOptions())}
    check(SimpleNamespace(tokenizer=words, loaded={}, experiment=SimpleNamespace(models=models), found=found))  # type: ignore[arg-type]
    assert [p.where for p in found.problems] == ["teacher.cache"]


def of_two(tiny: Tiny) -> Path:
    """A recipe of two teachers, of which a match reads one."""
    teachers = {"big": {"path": str(tiny.folder / "teacher")}, "other": {"path": str(tiny.folder / "teacher")}}
    matches = [LABELS, {"tap": "logits", "loss": "kl", "from": "big"}]
    student = {"shrink": {"layers": [2, 4]}, "from": "big"}
    return tiny.write(short(tiny, "teacher", teachers=teachers, matches=matches, student=student))


def test_which_teachers_no_match_reads(tiny: Tiny) -> None:
    file = of_two(tiny)
    assert unread.places(build.from_recipe(file).experiment) == ["teachers.other"]
    named = ["matches.1={student: 'hidden:1', teacher: 'other/hidden:2'}"]
    assert unread.places(build.from_recipe(file, named).experiment) == ["teachers.big"]
    both = ["matches.1={tap: logits, loss: kl, from: [big, other], combine: mean_logits}"]
    assert unread.places(build.from_recipe(file, both).experiment) == []


@pytest.mark.long
def test_textkd_cache_leaves_out_a_teacher_that_no_match_reads(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = textkd(capsys, monkeypatch, "cache", str(of_two(tiny)))
    assert code == 0, said
    assert said.count("64 rows (64 computed now)") == 1
    assert "teachers.other: no match reads it" in said
