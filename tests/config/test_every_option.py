"""Every option of every block changes something where it makes sense. A new option has to be tried here, too."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from argument_list import BESIDE, MADE, READ, REFUSED, WITHOUT
from idle_options import KEYS, KEYS_OF_LINES, LOOKED_AT, LOOKED_AT_OF_LINES, OTHERS
from line_trials import GENERATION, LINES, OCR, PSEUDO
from match_trials import MATCHES
from number_trials import CACHES, SCHEDULES
from option_lab import OptionLab
from option_list import options
from option_trials import RECIPES, STUDENTS
from second_proofs import but_few
from text_trials import EVALS, TEXTS
from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, WandbCallback

from textkd import Distiller
from textkd.errors import TextkdError
from textkd.models.students.widths import WIDTHS
from textkd.training import read_beside, unread_arguments
from textkd.training.arguments import RESERVED, argument_problems
from textkd.training.unread_arguments import unread_problems

TRIALS = {
    **RECIPES, **STUDENTS, **MATCHES, **TEXTS, **EVALS, **LINES, **OCR, **GENERATION, **PSEUDO, **CACHES, **SCHEDULES,
}  # fmt: skip
SLOW = {
    *GENERATION, *(name for name in (*LINES, *EVALS) if "digits" in name or "ocr" in name), "Recipe.max_length",
    "PseudoBlock.num_beams", "TeacherBlock.allow_pickle", "TeacherBlock.sha256", "student.allow_pickle",
    "student.sha256", "student.path", "shrink.encoder_layers", "shrink.decoder_layers", "TeacherBlock.recogniser",
    "text.encoding", "text.splits", *(f"PruneBlock.{one}" for one in ("target", "kind", "schedule", "rounds", "rows")),
    *(f"shrink.{side}_{one}" for side in ("encoder", "decoder") for one in WIDTHS),
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> OptionLab:
    return OptionLab(tmp_path_factory.mktemp("options"))


def test_every_option_has_a_trial() -> None:
    missing = [name for name in options() if name not in TRIALS]
    assert not missing, f"no trial for option {', '.join(missing)}"
    assert not set(TRIALS) - set(options())


@pytest.mark.parametrize("option", but_few(TRIALS, *(name for name in TRIALS if name not in SLOW)))
def test_another_value_is_seen(option: str, lab: OptionLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = TRIALS[option](lab)
    assert one != other


def names(rows: list[tuple[Any, ...]]) -> list[str]:
    return [f"{row[-1]} {number}" for number, row in enumerate(rows)]


@pytest.mark.parametrize(("changes", "where"), KEYS, ids=names(KEYS))
def test_a_key_without_effect_is_refused(changes: Any, where: str, lab: OptionLab) -> None:
    refused(lab, lab.text, changes, where)


@pytest.mark.parametrize(("changes", "where"), KEYS_OF_LINES, ids=names(KEYS_OF_LINES))
def test_a_key_beside_lines_without_effect_is_refused(changes: Any, where: str, lab: OptionLab) -> None:
    refused(lab, lab.ocr, changes, where)


@pytest.mark.long
@pytest.mark.parametrize(("changes", "where"), LOOKED_AT, ids=names(LOOKED_AT))
def test_an_option_without_effect_is_refused(changes: Any, where: str, lab: OptionLab) -> None:
    refused(lab, lab.text, changes, where)


@pytest.mark.long
@pytest.mark.parametrize(("changes", "where"), LOOKED_AT_OF_LINES, ids=names(LOOKED_AT_OF_LINES))
def test_an_option_beside_lines_without_effect_is_refused(changes: Any, where: str, lab: OptionLab) -> None:
    refused(lab, lab.ocr, changes, where)


def refused(lab: OptionLab, base: Any, changes: Any, where: str) -> None:
    with pytest.raises(TextkdError) as caught:
        lab.run(base, changes).check()
    assert [p.where for p in caught.value.problems] == [where]
    assert caught.value.problems[0].fix


@pytest.mark.parametrize(("make", "given", "said"), OTHERS, ids=names(OTHERS))
def test_an_option_of_data_without_effect_is_refused(make: Any, given: Any, said: str, lab: OptionLab) -> None:
    with pytest.raises(TextkdError) as caught:
        make(lab, given)
    assert said in f"{caught.value.problems[0].where} {caught.value.problems[0].asked}"


def test_a_seed_beside_seeds_is_refused_in_python_too() -> None:
    with pytest.raises(TextkdError, match="beside seeds"):
        Distiller(None, None, None, args={"seed": 7}, seeds=[1])


def test_of_two_teachers_the_first_writes(lab: OptionLab) -> None:
    folder = {"path": lab.file("reader")}
    both = {"teacher": None, "teachers": {"big": folder, "other": folder}, "matches": [{"tap": "labels"}], "pseudo": {}}
    made = lab.run(lab.ocr, both)
    student = made.experiment.training("student")
    assert student.targets is not None
    assert made.runner._writer(student, {"big": 1, "other": 2}) == 1


def test_every_training_argument_is_read_or_refused() -> None:
    lists = {"MADE": MADE, "READ": [one for names in READ.values() for one in names], "BESIDE": BESIDE,
             "REFUSED": REFUSED}  # fmt: skip
    for field in fields(TrainingArguments):
        where = [name for name, held in lists.items() if field.name in held]
        assert len(where) == 1, f"{field.name} stands in {where or 'no list'} of argument_list.py: it stands in one"
    told = {**MADE, **BESIDE, **REFUSED}
    assert {*read_beside.BESIDE, *read_beside.UNREAD, *RESERVED} <= {*told}


def test_an_argument_of_optimizer_or_schedule_makes_another_one() -> None:
    for name, (value, beside) in MADE.items():
        own = {**beside, name: value}
        assert unread_arguments._made(own, 100) != unread_arguments._made(beside, 100), name
        assert unread_problems(own, [own]) == [], name


@pytest.mark.parametrize("file", READ)
def test_an_argument_is_read_there(file: str) -> None:
    source = Path(str(importlib.import_module(file).__file__)).read_text()
    known = {field.name for field in fields(TrainingArguments)}
    reads = set(re.findall(r"(?<=args\.|self\.)\w+", source))
    unread = known & set(READ[file]) - reads
    assert not unread, f"{file} does not read {', '.join(unread)}"


def test_an_argument_is_refused_without_the_one_beside_which_it_is_read() -> None:
    for name, (value, beside) in BESIDE.items():
        alone, own = {**WITHOUT.get(name, {}), name: value}, {**beside, name: value}
        assert [one.where for one in unread_problems(alone, [alone])] == [name]
        assert unread_problems(own, [own]) == []
        assert unread_problems(alone, [alone, own | {name: alone[name]}]) == []


def test_an_argument_that_nobody_reads_is_refused() -> None:
    known = {field.name for field in fields(TrainingArguments)}
    for name, value in REFUSED.items():
        own = {name: value}
        found = argument_problems(own) if name in RESERVED else unread_problems(own, [own])
        assert name not in known or [one.where for one in found] == [name], name


def test_reports_read_a_name_where_their_code_says_so() -> None:
    text = Path(str(inspect.getsourcefile(WandbCallback))).read_text()
    sources = dict(re.findall(r"^class (\w+)(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL))
    for report, kind in INTEGRATION_TO_CALLBACK.items():
        source = "".join(sources.get(one.__name__, "") for one in kind.__mro__)
        assert ("args.run_name" in source) == (report in read_beside.NAMED), report
        assert bool(re.search(r"args\.(project|trackio_\w+)", source)) == (report == "trackio"), report
