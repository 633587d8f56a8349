"""A run folder belongs to one recipe over one content of data and models: nothing else is resumed or reported in it."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest
import torch
from drive import start_forked
from filelock import FileLock
from graph_lab import home
from second_proofs import but_few
from tiny_lab import Tiny, make_teacher, make_tokenizer, sentences, write_tsv
from transformers import BertForSequenceClassification, BertModel

from textkd import Distiller, Match, Stage, tasks
from textkd.config import build
from textkd.errors import TextkdError
from textkd.experiment.changed import changes
from textkd.experiment.distiller import Run
from textkd.experiment.fingerprint import told
from textkd.teachers import LiveOptions


@pytest.fixture
def own(tiny: Tiny) -> Tiny:
    """Copies, to be changed."""
    for name in ("teacher", "data"):
        kept = (tiny.folder / name).resolve()
        (tiny.folder / name).unlink()
        shutil.copytree(kept, tiny.folder / name)
    return tiny


def claimed(made: Run) -> Run:
    made.check()
    made.folder.claim(made.fingerprint, made.name, made.inputs)
    return made


def with_finetune(tiny: Tiny) -> dict[str, Any]:
    return tiny.recipe | {"teacher": {"path": str(tiny.folder / "teacher"), "finetune": {"num_train_epochs": 1}}}


def with_path(tiny: Tiny) -> dict[str, Any]:
    make_teacher(2).save_pretrained(tiny.folder / "small")
    return tiny.recipe | {"student": {"path": str(tiny.folder / "small")}, "matches": [{"tap": "labels"}]}


def other_weights(tiny: Tiny, name: str) -> None:
    model = BertForSequenceClassification.from_pretrained(tiny.folder / name)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[5, 0] += 1
    model.save_pretrained(tiny.folder / name)


CHANGES = {
    "data": lambda own: write_tsv(own.folder / "data" / "train.tsv", sentences(64, 9)),
    "teacher": lambda own: other_weights(own, "teacher"),
    "student": lambda own: other_weights(own, "small"),
}


@pytest.mark.long
@pytest.mark.parametrize("what", but_few(CHANGES, "student"))
def test_a_recipe_over_changed_files_is_another_run(what: str, own: Tiny) -> None:
    file = own.write(with_path(own) if what == "student" else own.recipe)
    claimed(build.from_recipe(file))
    build.from_recipe(file).check()
    CHANGES[what](own)
    with pytest.raises(TextkdError, match=f"this recipe on another content of: .*{what}"):
        build.from_recipe(file).check()


@pytest.mark.long
def test_a_teacher_whose_head_is_made_anew_is_the_same_teacher(own: Tiny) -> None:
    """Before it is fine-tuned its head is random: of its seed, which is no part of what it is made from."""
    base = BertModel.from_pretrained(own.folder / "teacher")
    base.save_pretrained(own.folder / "teacher")
    file = own.write(with_finetune(own))
    first = claimed(build.from_recipe(file))
    torch.manual_seed(5)
    again = build.from_recipe(file)
    again.check()
    assert torch.equal(*(run.start("teacher").classifier.weight for run in (first, again)))
    other_base = make_teacher().bert
    with torch.no_grad():
        other_base.embeddings.word_embeddings.weight[5, 0] += 1
    other_base.save_pretrained(own.folder / "teacher")
    with pytest.raises(TextkdError, match="another content of: teacher"):
        build.from_recipe(file).check()


@pytest.mark.long
def test_a_folder_that_knows_no_inputs_is_read_as_before(own: Tiny) -> None:
    file = own.write(own.recipe)
    owner = claimed(build.from_recipe(file)).folder.path / "run.json"
    about = json.loads(owner.read_text())
    del about["inputs"]
    owner.write_text(json.dumps(about))
    build.from_recipe(file).check()


def in_python(own: Tiny, **other: Any) -> Distiller:
    made: dict[str, Any] = {
        "teacher": BertForSequenceClassification.from_pretrained(own.folder / "teacher"),
        "student": make_teacher(2), "task": tasks.get("glue/sst2", path=str(own.folder / "data")),
        "tokenizer": make_tokenizer(), "matches": [Match("labels")],
        "args": {"num_train_epochs": 1, "output_dir": str(own.folder / "run")},
    }  # fmt: skip
    return Distiller(**made | other)


def moved(model: Any) -> Any:
    with torch.no_grad():
        next(model.parameters())[5, 0] += 1
    return model


OTHERS = {
    "teacher": lambda: {"teacher": moved(make_teacher())},
    "student": lambda: {"student": moved(make_teacher(2))},
    "settings": lambda: {"max_length": 8},
}


@pytest.mark.long
@pytest.mark.parametrize("what", but_few(OTHERS, "student"))
def test_in_python_what_is_given_counts(what: str, own: Tiny) -> None:
    claimed(in_python(own))
    in_python(own).check()
    with pytest.raises(TextkdError, match=f"another content of: {what}"):
        in_python(own, **OTHERS[what]()).check()


def mine(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (student - teacher).square().mean()


EDITS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "weight": ({"matches": [Match("labels", weight=0.5)]}, ["student.matches[0].weight: not given, now 0.5"]),
    "rate": ({"args": {"num_train_epochs": 2}}, ["student.args.num_train_epochs: 1, now 2",
                                                  "control.args.num_train_epochs: 1, now 2"]),
    "control": ({"control": {"learning_rate": 0.1}}, ["control.args.learning_rate: not given, now 0.1"]),
    "seeds": ({"seeds": [7]}, ["seeds: [42], now [7]"]),
    "stages": ({"matches": (), "stages": [Stage([Match("labels")], frozen=["bert.embeddings"])]},
               ["student.frozen: [], now ['bert.embeddings']"]),
    "loss": ({"matches": [Match("labels", loss=mine)]}, ["student.matches[0].loss: not given, now mine"]),
    "precision": ({"live": LiveOptions("bf16")}, ["models.teacher.precision: auto, now bf16"]),
}  # fmt: skip


@pytest.mark.parametrize("what", but_few(EDITS, "weight"))
def test_in_python_what_was_edited_is_named(what: str, tiny: Tiny) -> None:
    edit, due = EDITS[what]
    teacher = make_teacher()
    before, now = (in_python(tiny, teacher=teacher, **words) for words in ({}, edit))
    assert changes(told(before.setup), told(now.setup)) == due
    assert (before.fingerprint == now.fingerprint) == (what == "nothing")


@pytest.mark.long
def test_in_python_a_folder_is_refused_by_the_key_that_was_edited(own: Tiny) -> None:
    before = in_python(own)
    before.check()
    before.folder.claim(before.fingerprint, before.name, before.inputs, told(before.setup))
    (before.folder.path / "results.json").write_text("{}")
    in_python(own).check()
    with pytest.raises(TextkdError, match=r"another recipe \(run\): student.matches\[0\].weight: not given, now 0.5\n"):
        in_python(own, matches=[Match("labels", weight=0.5)]).check()


@pytest.mark.long
def test_in_python_a_folder_of_before_does_not_say_what_was_edited(own: Tiny) -> None:
    before = claimed(in_python(own))  # with a text that is no YAML
    (before.folder.path / "results.json").write_text("{}")
    with pytest.raises(TextkdError, match="other settings"):
        in_python(own, matches=[Match("labels", weight=0.5)]).check()


def test_a_teacher_that_comes_from_no_folder_needs_its_tokenizer(own: Tiny) -> None:
    with pytest.raises(TextkdError, match=r"tokenizer(.|\n)*from no folder(.|\n)*tokenizer="):
        in_python(own, teacher=make_teacher(), tokenizer=None).check()


@pytest.mark.long
def test_two_processes_are_both_refused_a_folder_that_is_in_use(tiny: Tiny) -> None:
    """One that went on alone would wait for the other until a timeout."""
    with FileLock(tiny.folder / ".run.lock"):
        ended = start_forked(tiny.write(tiny.recipe), tiny.folder)()
    assert [code for code, _ in ended] == [2, 2]
    assert sum("another process is working in this folder" in said for _, said in ended) == 1


@pytest.mark.slow
def test_two_processes_wait_together_for_a_teacher_that_another_run_trains(tiny: Tiny) -> None:
    values = with_finetune(tiny) | {"control": False}
    made = build.from_recipe(tiny.write(values))
    made.check()
    kept = home(made, "teacher", 1)
    kept = kept.with_name(f"{kept.name}-2processes")  # of two processes it is another teacher
    kept.parent.mkdir(parents=True)
    with FileLock(kept.with_name(f".{kept.name}.lock")):
        wait = start_forked(tiny.write(values), tiny.folder)
        said = tiny.folder / "said-0.txt"
        until = time.monotonic() + 60
        while "waiting for another process" not in (said.read_text() if said.is_file() else ""):
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(3)
        assert not (tiny.folder / "teachers" / f"{kept.name}.work").exists()
    ended = wait()
    assert [code for code, _ in ended] == [0, 0], ended
