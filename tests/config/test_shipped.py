"""Recipes that come with textkd: by name from everywhere, in a wheel too."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from command_line import inside, textkd
from tiny_lab import Tiny

from textkd.config import recipe_file, shipped
from textkd.errors import TextkdError

ROOT = Path(__file__).resolve().parents[2]


def test_every_recipe_has_a_name() -> None:
    files = set((ROOT / "recipes").rglob("*.yaml"))
    assert set(shipped.recipes().values()) == files
    assert {"quickstart", "ocr/quickstart", "glue/mrpc_minilm6_to_3"} <= set(shipped.recipes())


@pytest.mark.parametrize("name", ["ocr/quickstart", "ocr/quickstart.yaml"])
def test_a_name_stands_for_its_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_file.load(name) == yaml.safe_load((ROOT / "recipes" / "ocr" / "quickstart.yaml").read_text())


def test_a_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart").mkdir()  # a folder does not: runs may be called so
    assert "about" in recipe_file.load("quickstart")
    Path("quickstart.yaml").write_text("task: mine")
    assert recipe_file.load("quickstart.yaml") == {"task": "mine"}
    Path("quickstart").rmdir()
    Path("quickstart").write_text("task: bare")
    assert recipe_file.load("quickstart") == {"task": "bare"}


def test_the_nearest_of_files_and_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstarts.yaml").write_text("task: mine")
    with pytest.raises(TextkdError) as caught:
        recipe_file.load("quikstart.yaml")
    assert set(caught.value.problems[0].nearest) >= {"quickstarts.yaml", "quickstart"}
    with pytest.raises(TextkdError) as caught:
        recipe_file.load("ocr/quickstrat")
    assert caught.value.problems[0].nearest[0] == "ocr/quickstart"


def test_a_wheel_carries_them_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes" / "own").mkdir(parents=True)
    (tmp_path / "recipes" / "own" / "one.yaml").write_text("task: carried")
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "shipped.py"))
    assert recipe_file.load("own/one") == {"task": "carried"}
    assert list(shipped.recipes()) == ["own/one"]


def test_check_by_name(tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.folder)
    words = ["glue/sst2_minilm6_to_3", f"task.path={tiny.folder / 'data'}", f"teacher.path={tiny.folder / 'teacher'}"]
    code, said = textkd(capsys, monkeypatch, "check", *words, "student={shrink: {layers: [2, 4]}}")
    assert code == 0, said
    assert "sst2_minilm6_to_3: glue/sst2" in said


def has_new_setuptools() -> bool:
    if importlib.util.find_spec("pip") is None or importlib.util.find_spec("setuptools") is None:
        return False
    return int(importlib.metadata.version("setuptools").partition(".")[0]) >= 77


@pytest.mark.slow
@pytest.mark.skipif(not has_new_setuptools(), reason="pip and setuptools>=77 build wheels here")
def test_an_installed_wheel_knows_them(tmp_path: Path) -> None:
    """Built from a copy, installed beside nothing else of ours, run from an empty folder."""
    source, site, here = tmp_path / "source", tmp_path / "site", tmp_path / "here"
    for name in ("textkd", "recipes", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    here.mkdir()
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"textkd/config/recipes/{name}.yaml" for name in shipped.recipes()} <= set(names)
    assert [name for name in names if "config/docs" in name] == ["textkd/config/docs/losses.md"]
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"textkd"}
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)], check=True)
    where = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}

    def said(*words: str) -> str:
        command = [sys.executable, "-m", "textkd", *words]
        done = subprocess.run(command, env=where, cwd=here, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert {line.split()[0] for line in said("ls", "recipes").splitlines()[1:]} == set(shipped.recipes())
    assert "Hinton" in said("ls", "losses")
    assert "the recipe is good" in said("check", "ocr/quickstart")
    assert inside(here) == set()
