"""Fixtures for everybody: a folder with a tiny teacher, data and recipes (see tiny_lab)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite runs one process per core

import pytest
from tiny_lab import Tiny, make_teacher, make_tokenizer, sentences, write_tsv


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_teacher().save_pretrained(folder / "teacher")
    make_tokenizer().save_pretrained(folder / "teacher")
    write_tsv(folder / "data" / "train.tsv", sentences(64, 0))
    write_tsv(folder / "data" / "dev.tsv", sentences(32, 1))
    return folder


@pytest.fixture
def tiny(tiny_source: Path, tmp_path: Path) -> Tiny:
    """A folder of one test's own; teacher and data are links to shared ones."""
    for name in ("teacher", "data"):
        (tmp_path / name).symlink_to(tiny_source / name)
    return Tiny(tmp_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: workers get file after file, and a long one at the end would leave a core idle."""
    items.sort(key=lambda item: Path(item.path).parent != Path(__file__).parent)
