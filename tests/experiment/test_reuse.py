"""Nodes that are done run nothing, runs beside each other share them, and asking changes nothing."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import inside
from graph_lab import count_trainings, figures, short
from safetensors.torch import load_file, save_file
from second_proofs import but_few
from tiny_lab import Tiny
from transformers import AutoModelForSequenceClassification

from textkd import Distiller, Match
from textkd.config import build
from textkd.errors import TextkdError
from textkd.experiment import describe, fingerprint
from textkd.experiment.run import Runner
from textkd.experiment.storage import NodeIndex
from textkd.models import loading, students


@pytest.fixture
def reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTKD_REUSE", "1")


def begin(tiny: Tiny, name: str = "run", *overrides: str) -> Any:
    return build.from_recipe(tiny.write(short(tiny)), [f"training.output_dir={tiny.folder / name}", *overrides])


@pytest.fixture(scope="module")
def finished(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder in which "run" is done, and a copy of it."""
    folder, copy = (tmp_path_factory.mktemp("reuse") / name for name in ("tiny", "copy"))
    folder.mkdir()
    for name in ("teacher", "data"):
        (folder / name).symlink_to(tiny_source / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTKD_REUSE", "1")  # so that the run is in the index, for tests that look there
        begin(Tiny(folder)).run()
    shutil.copytree(folder, copy, symlinks=True)
    return folder, copy


@pytest.fixture
def done(finished: tuple[Path, Path]) -> Tiny:
    """A folder in which "run" is done: one place for all tests (recipes name it), as it was before each of them."""
    folder, copy = finished
    shutil.rmtree(folder)
    shutil.copytree(copy, folder, symlinks=True)
    return Tiny(folder)


def weights(tiny: Tiny, name: str, model: str) -> dict[str, torch.Tensor]:
    return load_file(tiny.folder / name / "seed-1" / model / "model.safetensors")


def test_nodes_that_are_done_run_nothing(done: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    before = figures(done.folder / "run")
    (done.folder / "run" / "results.json").unlink()
    trained = count_trainings(monkeypatch)
    again = begin(done)
    assert {again.runner.state(node) for node in again.runner.nodes} == {"done"}
    again.run()
    assert trained == []
    assert figures(done.folder / "run") == before


@pytest.mark.long
def test_a_run_beside_it_takes_the_models(done: Tiny, monkeypatch: pytest.MonkeyPatch, reuse: None) -> None:
    trained = count_trainings(monkeypatch)
    other = begin(done, "other")
    assert {other.runner.state(node) for node in other.runner.nodes} == {"another run has it"}
    other.run()
    assert trained == []
    assert figures(done.folder / "other") == figures(done.folder / "run")
    for name in ("student", "control"):
        one, two = (done.folder / run / "seed-1" / name for run in ("run", "other"))
        assert inside(one) == inside(two)
        assert (one / "model.safetensors").samefile(two / "model.safetensors")  # no room is taken twice
        assert not (one / "textkd.json").samefile(two / "textkd.json")
    shutil.rmtree(done.folder / "run")
    assert weights(done, "other", "student")


@pytest.mark.long
def test_nobody_takes_a_model_where_that_is_not_wanted(done: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = count_trainings(monkeypatch)
    begin(done, "other").run()
    assert trained == ["student", "control"]


CHANGES: dict[str, tuple[str, list[str]]] = {
    "seed": ("seeds=[2]", ["student", "control"]),
    "learning rate": ("training.learning_rate=5e-4", ["student", "control"]),
    "steps": ("training.max_steps=1", ["student", "control"]),
    "match": ("matches.1.temperature=3", ["student"]),  # the control has no such match
    "control": ("control={learning_rate: 5e-4}", ["control"]),
    "a token": ("training.hub_token=other", []),
}


@pytest.mark.long
@pytest.mark.parametrize("what", CHANGES)
def test_what_another_word_changes_is_trained_anew(
    what: str, done: Tiny, monkeypatch: pytest.MonkeyPatch, reuse: None
) -> None:
    word, due = CHANGES[what]
    trained = count_trainings(monkeypatch)
    begin(done, "other", word).run()
    assert trained == due


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "deleted": shutil.rmtree,
    "no record": lambda folder: (folder / "textkd.json").unlink(),
    "half a record": lambda folder: (folder / "textkd.json").write_text('{"node": '),
    "half the weights": cut,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "another node's": lambda folder: (folder / "textkd.json").write_text('{"node": "0"}'),
}


@pytest.mark.long
@pytest.mark.parametrize("what", but_few(DAMAGES, "half the weights"))
def test_a_damaged_model_is_nobodys(what: str, done: Tiny, monkeypatch: pytest.MonkeyPatch, reuse: None) -> None:
    DAMAGES[what](done.folder / "run" / "seed-1" / "student")
    trained = count_trainings(monkeypatch)
    other = begin(done, "other")
    assert [other.runner.state(node) for node in other.runner.nodes] == ["to do", "another run has it"]
    other.run()
    assert trained == ["student"]


@pytest.mark.long
def test_a_deleted_model_of_a_run_is_trained_anew(done: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights(done, "run", "student")
    (done.folder / "run" / "results.json").unlink()
    shutil.rmtree(done.folder / "run" / "seed-1" / "student")
    trained = count_trainings(monkeypatch)
    begin(done).run()
    assert trained == ["student"]
    again = weights(done, "run", "student")
    assert all(torch.equal(again[name], value) for name, value in before.items())


@pytest.mark.long
def test_a_run_that_was_stopped_between_nodes_goes_on(done: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Runner._train

    def stopped(self: Runner, node: Any, *places: Any) -> None:
        if node.name == "control":
            raise KeyboardInterrupt
        original(self, node, *places)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_train", stopped)
        with pytest.raises(KeyboardInterrupt):
            begin(done, "stopped").run()
    student = done.folder / "stopped" / "seed-1" / "student" / "model.safetensors"
    made = student.stat().st_mtime_ns
    trained = count_trainings(monkeypatch)
    begin(done, "stopped").run()
    assert trained == ["control"]
    assert student.stat().st_mtime_ns == made
    for name in ("student", "control"):
        one, two = (weights(done, run, name) for run in ("stopped", "run"))
        assert all(torch.equal(one[key], two[key]) for key in two)


# -- asking ----------------------------------------------------------------------------------------------------------


def state() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_asking_builds_each_model_once_and_leaves_random_numbers_alone(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def count(owner: Any, name: str) -> None:
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: (built.append(name), original(*args, **kwargs))[1])

    count(loading, "load_model_info")
    count(students, "begin")
    values = short(tiny, student={"config": {"num_hidden_layers": 1, "hidden_size": 8}})  # one with random weights
    file = tiny.write(values)
    before, here = state(), inside(tiny.folder)
    made = build.from_recipe(file)
    asked: list[Callable[[], Any]] = [
        made.check, made.plan, lambda: made.fingerprint, lambda: made.inputs,
        lambda: describe.table(made.setup, made.runner, timed=False),
    ]  # fmt: skip
    for ask in asked:
        ask()
        assert state() == before
    assert sorted(built) == ["begin", "load_model_info"]
    assert inside(tiny.folder) == here


def test_a_name_for_reports_is_no_part_of_a_node(done: Tiny, reuse: None) -> None:
    other = begin(done, "other", "training.run_name=other")
    assert {other.runner.state(node) for node in other.runner.nodes} == {"another run has it"}


@pytest.mark.parametrize("student", ["{shrink: {layers: [1, 3]}}", "{config: {num_hidden_layers: 2}}"])
def test_a_student_that_is_made_otherwise_is_another_one(done: Tiny, reuse: None, student: str) -> None:
    other = begin(done, "other", f"student={student}")
    assert {other.runner.state(node) for node in other.runner.nodes if node.name in ("student", "control")} == {"to do"}


@pytest.mark.long
def test_models_whose_weights_were_changed_are_not_taken(
    done: Tiny, monkeypatch: pytest.MonkeyPatch, reuse: None
) -> None:
    file = done.folder / "run" / "seed-1" / "control" / "model.safetensors"
    state = load_file(file)
    save_file({name: -tensor for name, tensor in state.items()}, file, metadata={"format": "pt"})
    trained = count_trainings(monkeypatch)
    other = begin(done, "other")
    assert {node.name: other.runner.state(node) for node in other.runner.nodes} == {
        "student": "another run has it", "control": "to do",
    }  # fmt: skip
    other.run()
    assert trained == ["control"]  # anew
    (done.folder / "run" / "results.json").unlink()
    with pytest.raises(TextkdError, match="its weights are other ones than those that"):
        begin(done).run()


def scaled(factor: float) -> Callable[..., torch.Tensor]:
    def mine(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return factor * (student - teacher).square().mean()

    return mine


def test_functions_of_ones_own_are_known_by_what_they_hold(done: Tiny) -> None:
    teacher = loading.load_model(str(done.folder / "teacher"), AutoModelForSequenceClassification)
    task = begin(done).setup.experiment.task

    def student_key(factor: float, layers: list[int]) -> str:
        matches = [Match("labels"), Match("hidden", loss=scaled(factor))]
        args = {"output_dir": str(done.folder / "mine")}
        run = Distiller(teacher, lambda model, seed: students.shrink(model, layers=layers), task, matches, args)
        (node,) = [node for node in run.runner.nodes if node.name == "student"]
        return str(run.runner.key(node))

    first = student_key(1.0, [1, 3])
    assert student_key(1.0, [1, 3]) == first
    assert len({first, student_key(2.0, [1, 3]), student_key(1.0, [2, 4])}) == 3


def test_what_cannot_be_known_is_like_nothing_else(done: Tiny) -> None:
    class Unknown:
        def __reduce__(self) -> Any:
            raise TypeError("not to be pickled")

    setup = begin(done).setup
    one, other = (fingerprint._own(setup, [[thing]]) for thing in (Unknown(), Unknown()))
    assert one != other


def test_an_index_that_cannot_be_written_ends_no_run(
    tmp_path: Path, reuse: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that another user made, beside a run folder of one's own."""
    index = NodeIndex(tmp_path)
    index.folder.write_text("a file")
    with caplog.at_level(logging.WARNING, "textkd"):
        index.add("key", {"student": tmp_path / "student"})
    assert "other runs will not find what this one made" in caplog.text
    assert index.find("key") == {}
