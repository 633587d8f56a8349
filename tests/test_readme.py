"""README's recipe and its Python code, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from places import ROOT
from tiny_lab import Tiny, make_teacher, make_tokenizer

from textkd.config import build

PAGE = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    (code,) = [code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if containing in code]
    return code


def saved(folder: Path, layers: int) -> Path:
    make_teacher(layers).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def test_the_python_code_runs(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.folder)
    saved(tiny.folder / "my-finetuned-bert", 6)
    (tiny.folder / "data").rename(tiny.folder / "SST-2")
    Path("data").mkdir()
    Path("SST-2").rename("data/SST-2")
    found: dict[str, Any] = {"__name__": "page"}
    exec(compile(block("python", "Distiller("), "README.md", "exec"), found)
    assert found["result"].report.is_file()
    states = torch.zeros(2, 3, 4), torch.arange(24.0).view(2, 3, 4)
    mask = torch.tensor([[1, 0, 0], [1, 1, 0]]).bool()
    assert found["my_loss"](*states, mask) == pytest.approx((1.5 + 13.5 + 17.5) / 3)


def test_the_recipe_is_a_good_one(tiny: Tiny) -> None:
    file = tiny.folder / "my.yaml"
    file.write_text(block("yaml", "matches:"))
    given = [f"task.path={tiny.folder / 'data'}", f"teacher.path={saved(tiny.folder / 'deep', 12)}",
             f"training.output_dir={tiny.folder / 'run'}"]  # fmt: skip
    build.from_recipe(file, given).check()
