"""What a run is: its tokenizer, its number of processes, the code that works on it. An edited recipe begins anew."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from drive import launch_forked, losses, start_forked, textkd
from graph_lab import home, short
from second_proofs import but_few
from test_resume import in_the_middle_of_an_epoch
from tiny_lab import Tiny

from textkd.config import build
from textkd.errors import TextkdError
from textkd.experiment import run, storage
from textkd.experiment.changed import changes
from textkd.experiment.distiller import Run
from textkd.models import versions as code


@pytest.fixture
def own(tiny: Tiny) -> Tiny:
    """A copy of the teacher, to be changed."""
    kept = (tiny.folder / "teacher").resolve()
    (tiny.folder / "teacher").unlink()
    shutil.copytree(kept, tiny.folder / "teacher")
    return tiny


def swap_ids(folder: Path) -> None:
    """Two words change their ids."""
    file = folder / "tokenizer.json"
    inner = json.loads(file.read_text())
    vocab = inner["model"]["vocab"]
    vocab["good"], vocab["bad"] = vocab["bad"], vocab["good"]
    file.write_text(json.dumps(inner))


def lower_case(folder: Path) -> None:
    """The same words, cut otherwise."""
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"normalizer": {"type": "Lowercase"}}))


def begun(made: Run, finished: str = "") -> Run:
    """The folder as a killed run leaves it; `finished` is a model that was done."""
    made.check()
    made.folder.claim(made.fingerprint, made.name, made.inputs)
    (made.folder.path / "seed-1" / "student.work" / "stage-1" / "checkpoint-2").mkdir(parents=True)
    if finished:
        (made.folder.path / "seed-1" / finished).mkdir()
        (made.folder.path / "seed-1" / finished / "textkd.json").write_text("{}")
    return made


@pytest.mark.long
@pytest.mark.parametrize("change", but_few([swap_ids, lower_case], swap_ids))
def test_other_ids_are_another_run(change: Any, own: Tiny) -> None:
    values = own.recipe | {"teacher": {"path": str(own.folder / "teacher"), "finetune": {"num_train_epochs": 1}}}
    made = begun(build.from_recipe(own.write(values)))
    kept = home(made, "teacher", 1)
    change(own.folder / "teacher")
    with pytest.raises(TextkdError, match="this recipe on another content of: tokenizer"):
        build.from_recipe(own.write(values)).check()
    other = build.from_recipe(own.write(values), ["training.output_dir=" + str(own.folder / "other")])
    other.check()
    assert home(other, "teacher", 1) != kept


@pytest.mark.long
@pytest.mark.parametrize("how", ["killed", "finished"])
def test_a_run_of_other_ids_neither_goes_on_nor_tells_what_was(how: str, own: Tiny) -> None:
    file = own.write(own.recipe)
    first = textkd("run", file, folder=own.folder, patch=in_the_middle_of_an_epoch if how == "killed" else None)
    assert first.code == (-9 if how == "killed" else 0)
    swap_ids(own.folder / "teacher")
    again = textkd("run", file, folder=own.folder)
    assert again.code == 2
    assert "another content of: tokenizer" in again.said


@pytest.mark.long
def test_an_edited_recipe_begins_anew_where_nothing_is_finished(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    made = begun(build.from_recipe(tiny.write(short(tiny))))
    other = build.from_recipe(tiny.write(short(tiny)), ["matches.0.weight=0.5"])
    other.check()
    assert (made.folder.path / "seed-1").exists()  # a check writes nothing
    states = {node.name: (made.runner.state(node), other.runner.state(node)) for node in other.runner.nodes}
    assert states["student"] == ("begun: it goes on", "begun, then edited: it begins anew")
    assert states["control"] == ("to do", "to do")
    with caplog.at_level(logging.WARNING, "textkd"):
        other.folder.claim(other.fingerprint, other.name, other.inputs)
    assert "now 0.5" in caplog.text
    assert not (made.folder.path / "seed-1").exists()
    assert {other.runner.state(node) for node in other.runner.nodes} == {"to do"}
    build.from_recipe(tiny.write(short(tiny)), ["matches.0.weight=0.5"]).check()
    assert "0.5" in json.loads((made.folder.path / "run.json").read_text())["recipe"]


def test_an_edited_recipe_over_finished_models_is_refused_by_its_key(tiny: Tiny) -> None:
    begun(build.from_recipe(tiny.write(short(tiny))), "student")
    with pytest.raises(TextkdError, match=r"another recipe \(tiny\): matches\[0\].weight: .*, now 0.5"):
        build.from_recipe(tiny.write(short(tiny)), ["matches.0.weight=0.5"]).check()


@pytest.mark.long
def test_a_folder_of_another_recipe_s_name_is_not_emptied(tiny: Tiny) -> None:
    begun(build.from_recipe(tiny.write(short(tiny))))
    with pytest.raises(TextkdError, match="another recipe"):
        build.from_recipe(tiny.write(short(tiny), "mine.yaml"), ["matches.0.weight=0.5"]).check()


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("{a: {b: [1, 2]}}", "{a: {b: [1, 3]}}", ["a.b: [1, 2], now [1, 3]"]),
        ("{a: 1, b: 2}", "{b: 2, a: 1}", []),
        ("{c: true}", "{c: {learning_rate: 0.1}}", ["c: true, now {'learning_rate': 0.1}"]),
        ("{m: [{w: 1}]}", "{m: [{w: 1}, {w: 2}]}", ["m[1].w: not given, now 2"]),
        ("{m: 1}", "{m: true}", ["m: 1, now true"]),
        ("(no recipe)", "{m: 1}", None),
        ("{m: [", "{m: 1}", None),
    ],
)
def test_changes_are_told_by_their_keys(before: str, now: str, told: list[str] | None) -> None:
    assert changes(before, now) == told


def test_another_number_of_processes_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun(build.from_recipe(tiny.write(short(tiny))))
    two = SimpleNamespace(num_processes=2, is_main_process=True, wait_for_everyone=lambda: None)
    monkeypatch.setattr(storage, "processes", lambda: two)
    with pytest.raises(TextkdError, match=r"on 2 processes(.|\n)*begun on 1 process:(.|\n)*start it on 1 process;"):
        made.folder.claim(made.fingerprint, made.name, made.inputs)
    shutil.rmtree(made.folder.path / "seed-1")
    made.folder.claim(made.fingerprint, made.name, made.inputs)  # nothing is begun
    assert json.loads((made.folder.path / "run.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_a_killed_run_of_one_process_does_not_go_on_with_two(tiny: Tiny) -> None:
    file = tiny.write(tiny.recipe)
    assert textkd("run", file, folder=tiny.folder, patch=in_the_middle_of_an_epoch).code == -9
    ended = start_forked(file, tiny.folder)()
    assert [status for status, _ in ended] == [2, 2]
    assert "begun on 1 process" in "".join(said for _, said in ended)
    shutil.rmtree(tiny.folder / "run")
    launch_forked(file, tiny.folder)
    assert max(step for step, _ in losses(tiny.folder / "run")) == 4
    assert textkd("run", file, folder=tiny.folder).code == 0  # a finished one is read by any number


def test_other_code_is_told_and_goes_on(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = begun(build.from_recipe(tiny.write(short(tiny))))
    node = made.runner.nodes[0]
    key = made.runner.key(node)
    monkeypatch.setattr(code, "_versions", lambda: (("textkd", "0.0"), ("torch", "1.13"), ("transformers", "4.0")))
    with caplog.at_level(logging.WARNING, "textkd"):
        made.folder.claim(made.fingerprint, made.name, made.inputs)
    assert "begun with other code: textkd " in caplog.text
    assert ", now 1.13" in caplog.text
    assert [one["torch"] for one in json.loads((made.folder.path / "run.json").read_text())["versions"]][1:] == ["1.13"]
    assert made.runner.key(node) != key
    (made.folder.path / "results.json").touch()  # finished
    monkeypatch.setattr(code, "_versions", lambda: (("textkd", "0.0"), ("torch", "1.14"), ("transformers", "4.0")))
    with caplog.at_level(logging.WARNING, "textkd"):
        made.folder.claim(made.fingerprint, made.name, made.inputs)
    assert "made with other code: torch 1.13, now 1.14" in caplog.text


@pytest.mark.long
def test_a_kept_teacher_that_was_begun_with_other_code_is_told(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As `Runner` trains one: its work folder lies in no run folder."""
    values = short(tiny, teacher={"path": str(tiny.folder / "teacher"), "finetune": {"num_train_epochs": 1}})
    made = build.from_recipe(tiny.write(values))
    made.check()

    def stopped(work: Path, *args: Any) -> None:
        (work / "stage-1" / "checkpoint-1").mkdir(parents=True, exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_stages", stopped)
    for number, versions in enumerate(["1.13", "1.13", "1.14"]):
        caplog.clear()
        monkeypatch.setattr(code, "_versions", lambda torch=versions: (("textkd", "0.0"), ("torch", torch)))
        with pytest.raises(KeyboardInterrupt):
            made.runner.ended("teacher", 1)
        told = "teacher was begun with other code: torch 1.13, now 1.14; it goes on"
        assert (told in caplog.text) == (number == 2)


@pytest.mark.long
@pytest.mark.parametrize("content", but_few(["", "[]", "{", "\x00\xff", "[" * 5000], "{"))
def test_garbage_in_a_run_s_own_records_is_told(content: str, tiny: Tiny) -> None:
    made = begun(build.from_recipe(tiny.write(short(tiny))), "student")
    (made.folder.path / "seed-1" / "student" / "textkd.json").write_text(content, encoding="latin-1")
    with pytest.raises(TextkdError, match=r"textkd.json is damaged(.|\n)*delete this folder: the same command"):
        made.run()
    (made.folder.path / "run.json").write_text(content, encoding="latin-1")
    with pytest.raises(TextkdError, match=r"run.json is damaged(.|\n)*delete the folder"):
        build.from_recipe(tiny.write(short(tiny))).check()
