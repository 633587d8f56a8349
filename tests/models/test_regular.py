"""Named pipes and the like in the place of files: a message, at once, in place of waiting for ever."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from ocr_lab import processor
from tiny_lab import make_teacher, make_tokenizer

from textkd import TextkdError
from textkd.deploy.export import student_folder
from textkd.experiment.finished import RECORD, Finished, is_sound, lost
from textkd.experiment.storage import NodeIndex, RunFolder
from textkd.models.images import open_image
from textkd.models.loading import load_model, load_tokenizer
from textkd.models.no_code import from_pretrained
from textkd.models.regular import special
from textkd.report import results
from textkd.tasks.data.sources import file_source, load_split
from textkd.tasks.ocr.processor import load_processor
from textkd.teachers.cache.shards import DamagedError, open_shard
from textkd.training.checkpoints import last_checkpoint, read_stage

AUTO = transformers.AutoModelForSequenceClassification

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """What waits for a pipe fails after some seconds."""

    def stop(*_: Any) -> None:
        raise AssertionError("it waits for a named pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(folder: Path, name: str) -> Path:
    """A named pipe in the place of a file."""
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    return folder / name


@pytest.fixture
def model(tmp_path: Path) -> Path:
    make_teacher(layers=1).save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


READERS: dict[str, Callable[[str], Any]] = {
    "model": lambda folder: load_model(folder, AUTO),
    "tokenizer": load_tokenizer,
    "plain": lambda folder: from_pretrained(AUTO, folder),
}
OF_MODELS = [
    "config.json", "model.safetensors", "model.safetensors.index.json", "generation_config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "adapter_config.json",
]  # fmt: skip


@pytest.mark.parametrize("name", OF_MODELS)
def test_in_the_folder_of_a_model(name: str, model: Path) -> None:
    pipe(model, name)
    for read in READERS.values():
        with pytest.raises(TextkdError, match=f"{name} is a named pipe, no file"):
            read(str(model))


def test_in_the_folder_of_a_processor(tmp_path: Path) -> None:
    processor().save_pretrained(tmp_path)
    pipe(tmp_path, "preprocessor_config.json")
    with pytest.raises(TextkdError, match=r"preprocessor_config\.json is a named pipe"):
        load_processor(tmp_path)


def test_in_the_place_of_data(tmp_path: Path) -> None:
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        with pytest.raises(TextkdError, match="a named pipe, no file"):
            file_source(pipe(tmp_path, name)).read()
    with pytest.raises(TextkdError, match="a named pipe, no file"):
        open_image(pipe(tmp_path, "a.png"))
    with pytest.raises(TextkdError, match=r"a\.csv is a named pipe"):
        load_split(str(tmp_path), None, "train")


def test_in_a_run_folder(tmp_path: Path, model: Path) -> None:
    pipe(tmp_path, "run.json")
    with pytest.raises(TextkdError, match=r"run\.json is damaged: .*a named pipe, no file"):
        RunFolder(tmp_path).check("")
    pipe(model, RECORD)
    assert Finished.is_there(model)
    with pytest.raises(TextkdError, match="a named pipe, no file"):
        Finished.read(model, None)  # type: ignore[arg-type]
    assert lost(model) == f"{RECORD} or its weights cannot be read"
    pipe(model, "model.safetensors")
    assert not is_sound(model, {"weights": "any"})
    assert not is_sound(model, {})
    pipe(tmp_path, "results.json")
    with pytest.raises(TextkdError, match="is a named pipe, no file"):
        results.load(tmp_path)
    with pytest.raises(TextkdError, match=r"neither config\.json nor seed"):
        student_folder(tmp_path)


def test_in_the_folder_of_what_other_runs_finished(tmp_path: Path) -> None:
    index = NodeIndex(tmp_path)
    index.add("key", {"student": tmp_path / "home"})
    (tmp_path / "home").mkdir()
    pipe(tmp_path / "home", RECORD)
    assert index.find("key") == {}


def test_in_a_checkpoint_a_stage_and_a_cache(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    pipe(tmp_path / "checkpoint-1", "trainer_state.json")
    assert last_checkpoint(tmp_path) is None
    pipe(tmp_path, "stage.json")
    with pytest.raises(TextkdError, match="a named pipe, no file"):
        read_stage(tmp_path, ())
    with pytest.raises(DamagedError, match="a named pipe, no file"):
        open_shard(pipe(tmp_path, "shard-1.safetensors"))


def test_what_is_special(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("s")
        assert special("s") == "a socket"
    (tmp_path / "link").symlink_to(pipe(tmp_path, "p"))
    (tmp_path / "file").touch()
    assert [special(name) for name in ("link", os.devnull, "file", ".", "nowhere", "a\0b")] == [
        "a named pipe", "a device", "", "", "", "",
    ]  # fmt: skip
