"""Nothing of a run is written in halves, and a disk that is full or refuses is a message."""

from __future__ import annotations

import ast
import errno
import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_imports import FILES, ROOT

from textkd.errors import TextkdError
from textkd.models.files import FULL, refused, saving, write_atomic

WRITERS = {"write_text", "write_bytes", "save_pretrained", "save_file", "savefig", "copyfile", "copytree"}
OF_MODULES = {"torch.save", "json.dump", "np.save"}
WORDS = re.compile(rf"\b(open|save|dump|{'|'.join(WRITERS)})\(")
# what writes by itself, and what makes it whole
WHOLE = {
    "models/files.py open": "write_atomic: beside its place, renamed",
    "cli/app.py open": "what nobody reads",
    "teachers/cache/shards.py save_file": "beside its place, renamed",
    "models/own/door.py save_pretrained": "where whoever calls it writes",
    "experiment/finished.py save_pretrained": "a folder .part, renamed",
    "experiment/storage.py copytree": "a folder .part, renamed",
    "deploy/export.py save_pretrained": "a folder beside, renamed",
    "deploy/export.py copyfile": "a folder beside, renamed",
    "deploy/lines_onnx.py save_pretrained": "a folder beside, renamed",
    "deploy/parts.py save_pretrained": "a folder beside, renamed",
    "experiment/measured.py save_pretrained": "a temporary folder that nobody else reads",
    "models/students/fewer_words.py save_pretrained": "a temporary folder that nobody else reads",
    "models/students/fewer_words.py write_text": "a temporary folder that nobody else reads",
    "training/several.py save_pretrained": "a checkpoint, known by its sums, or final.part, renamed",
    "training/ema.py save_file": "a checkpoint, known by its sums",
}


def written(file: Path) -> Iterator[str]:
    """The calls in a file that write files."""
    text = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if WORDS.search(text) else ():
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = [one for one in [*node.args, *(k.value for k in node.keywords)] if isinstance(one, ast.Constant)]
        modes = [str(one.value) for one in given if set(str(one.value)) <= set("wax+bt")]
        is_open = name == "open" and any(set(mode) & set("wax+") for mode in modes)
        if name in WRITERS or is_open or (name in ("save", "dump") and ast.unparse(node.func) in OF_MODULES):
            yield name


def test_every_file_appears_whole_or_not_at_all() -> None:
    found = {f"{file.relative_to(ROOT)} {call}" for file in FILES for call in written(file)}
    assert found == set(WHOLE), "write with write_atomic, or into a folder that is renamed, and say so here"


@contextmanager
def a_small_disk() -> Iterator[None]:
    """Inside, no file may be longer than 1,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def weights(folder: Path) -> None:
    save_file({"w": torch.zeros(2000)}, folder / "model.safetensors")


def optimizer(folder: Path) -> None:
    torch.save({"w": torch.zeros(2000)}, folder / "optimizer.pt")


def record(folder: Path) -> None:
    write_atomic(folder / "textkd.json", "x" * 2000)


@pytest.mark.parametrize("write", [weights, optimizer, record])
def test_a_disk_that_takes_no_more(write: Callable[[Path], None], tmp_path: Path) -> None:
    """As safetensors, torch and Python say it."""
    folder = tmp_path / "student.part"
    folder.mkdir()
    with a_small_disk(), pytest.raises(TextkdError) as raised, saving(folder, lambda: "checkpoint-2"):
        write(folder)
    said = str(raised.value)
    assert f"save {folder}" in said
    assert ("File too large" in said) != (FULL in said)
    assert said.endswith("and run the same command again; last good checkpoint: checkpoint-2")
    assert not folder.exists()


SAID: list[tuple[Exception, str]] = [
    (RuntimeError("Error while serializing: I/O error: Read-only file system (os error 30)"), "Read-only file system"),
    (RuntimeError("I/O error: Permission denied (os error 13) at path \"/sys/.tmp\""), "Permission denied"),
    (RuntimeError("I/O error: No space left on device (os error 28)"), FULL),
    (RuntimeError("[enforce fail at inline_container.cc:747] . open file failed with strerror: Read-only file system"),
     "Read-only file system"),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), FULL),
    (OSError(errno.EACCES, os.strerror(errno.EACCES)), "Permission denied"),
    (OSError("a library's own words"), "a library's own words"),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ""),
    (KeyError("a"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("error", "due"), SAID, ids=range(len(SAID)))
def test_what_a_disk_says(error: Exception, due: str, tmp_path: Path) -> None:
    assert refused(error, tmp_path) == due


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_record_that_cannot_be_written_keeps_the_one_before(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_atomic(tmp_path / "results.json", "before")

    def refuse(*names: Any) -> None:
        raise OSError(number, os.strerror(number))

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            with pytest.raises(OSError, match=r"results\.json"):
                write_atomic(file, "after")
        assert [one.name for one in tmp_path.iterdir()] == ["results.json"]
        assert file.read_text() == "before"
