"""Fixtures for everybody: a folder with a tiny teacher, data and recipes (see tiny_lab)."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tiny_lab import Tiny

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite runs one process per core
os.environ["TEXTKD_REUSE"] = "0"  # runs beside each other train their own models, unless a test is about that

WHOLE_RUNS = ("experiment", "training", "config", "cli")  # folders of tests that train


def pytest_configure(config: pytest.Config) -> None:
    """Imports torch and all else where tests run. The process that only hands them out starts the others sooner."""
    hands_out = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if not hands_out:
        gc.disable()  # until all is imported: imports make much and throw nothing away
        import tiny_lab  # noqa: F401


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_lab import make_teacher, make_tokenizer, sentences, write_tsv

    folder = tmp_path_factory.mktemp("tiny")
    make_teacher().save_pretrained(folder / "teacher")
    make_tokenizer().save_pretrained(folder / "teacher")
    write_tsv(folder / "data" / "train.tsv", sentences(64, 0))
    write_tsv(folder / "data" / "dev.tsv", sentences(32, 1))
    return folder


@pytest.fixture
def tiny(tiny_source: Path, tmp_path: Path) -> Tiny:
    """A folder of one test's own; teacher and data are links to shared ones."""
    from tiny_lab import Tiny

    for name in ("teacher", "data"):
        (tmp_path / name).symlink_to(tiny_source / name)
    return Tiny(tmp_path)


@pytest.fixture
def whole_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports with their pictures drawn, which tests that look at a report's words do without (tiny_lab)."""
    from tiny_lab import DRAWING

    from textkd.report import plots

    for name, value in DRAWING.items():
        monkeypatch.setattr(plots, name, value)


# Large families of cases show their rule by the first ones of each test; the others prove it again, marked `long`
FAMILIES = {
    "test_bad_input": 8, "test_ocr_refusals": 8, "test_every_option": 60, "test_lines": 3, "test_secrets": 5,
    "test_shrink": 5, "test_compose": 5, "test_shrink_reader": 2, "test_strange_input": 3, "test_taps_parity": 10,
    "test_logits_family": 20, "test_gradient_flow": 25, "test_losses_everywhere": 40,
    "test_losses_against_references": 25, "test_graph_recipes": 6, "test_no_code": 5, "test_width": 5,
    "test_importance": 5, "test_lines_pixels": 5, "test_grown": 12, "test_report_gallery": 8, "test_export": 4,
    "test_artifacts": 5,
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Second proofs are marked; whole runs first: workers get file after file, and a long one at the end would leave a
    core idle."""
    seen = Counter[tuple[str, str]]()
    for item in items:
        most, family = FAMILIES.get(item.path.stem), (str(item.path), getattr(item, "originalname", ""))
        seen[family] += 1
        if most is not None and seen[family] > most:
            item.add_marker(pytest.mark.long)
    items.sort(key=lambda item: Path(item.path).parent.name not in WHOLE_RUNS)


def pytest_collection_finish() -> None:
    """What thousands of small tests would pay for again and again."""
    import torch

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.")]:
        logging.getLogger(name).propagate = True  # pytest hangs its handlers on each that does not, three times a test
    if not torch.cuda.is_available():  # each call writes the stack down for every kind of device that is not there
        torch.manual_seed = torch.default_generator.manual_seed
    if drive := sys.modules.get("drive"):  # some of the tests need processes
        drive._server()
    gc.freeze()  # what the imports left lives as long as the process
    gc.set_threshold(10_000)  # models are made of many objects, and little of them is garbage
    gc.enable()
