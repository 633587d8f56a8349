"""A recipe for readers of lines, from a config and generated digits to the report, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from drive import textkd, weights
from ocr_lab import EVAL, Reading, save_teacher, write_lines

from textkd import tasks
from textkd.cli import app
from textkd.tasks.ocr.output import LineTexts

METRICS = {"cer", "wer", "exact", "more_cer", "more_wer", "more_exact"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    made = Reading(tmp_path_factory.mktemp("ocr"))
    values = made.recipe
    values["task"]["extra_evals"] = {"more": {"digits": {**EVAL, "seed": 3}}}
    ended = textkd("run", made.write(values), folder=made.folder)
    assert ended.code == 0, ended.said
    assert ended.said.count("report: ") == 1
    return made.folder / "run"


@pytest.mark.long
def test_the_report_has_everything(run: Path) -> None:
    report, results = (json.loads((run / name).read_text()) for name in ("report.json", "results.json"))
    assert report["task"] == "ocr"
    assert report["main_metric"] == "cer"
    assert report["greater_is_better"] is False
    assert report["generation"]["max_new_tokens"] == 15
    for role in ("teacher", "student", "control"):
        assert report[role]["metrics"].keys() == METRICS
        assert 0 < report[role]["encoder_share"] < 1
        assert report[role]["samples_per_s"] > 0
    assert report["student"]["parameters"] < report["teacher"]["parameters"]
    parts = results["models"]["student"]["runs"][0]["history"][0]["parts"]
    assert set(parts) == {
        "encoder.hidden:1<-2/mse", "encoder.hidden:2<-4/mse", "decoder.cross_attention:1<-2/kl", "logits/kl",
        "labels/cross_entropy",
    }  # fmt: skip
    assert all(value > 0 for value in parts.values())
    assert {len(model["runs"][0]["history"]) > 0 for model in results["models"].values()} == {True}
    assert {(row["tap"], row["source_blocks"], row["target_blocks"]) for row in results["layer_maps"]} == {
        ("encoder.hidden", 2, 4), ("decoder.cross_attention", 1, 2),
    }  # fmt: skip


@pytest.mark.long
def test_the_gallery_shows_lines_of_the_evaluation_set(run: Path) -> None:
    gallery = json.loads((run / "results.json").read_text())["gallery"]
    page = (run / "report.html").read_text()
    truth = set(tasks.ocr({"digits": EVAL}, {"digits": EVAL}).table("eval").texts)
    assert 0 < len(gallery) <= len(truth) + 12
    for line in gallery:
        assert line["reference"] in truth
        assert {"teacher", "student", "control"} == line["said"].keys()
    assert page.count("data:image/") >= len(gallery)


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    """What a good command prints on stdout, in this process."""
    monkeypatch.setattr(sys, "argv", ["textkd", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    printed = capsys.readouterr()
    assert stopped.value.code == 0, printed.err
    return printed.out


@pytest.mark.long
def test_eval_of_the_same_lines_is_the_recorded_score(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_lines(tmp_path / "lines.parquet", EVAL)
    for role in ("student", "control"):
        recorded = json.loads((run / "report.json").read_text())[role]["metrics"]
        words = "eval", run / "seed-1" / role, "--task", "ocr", "--file", file, "--json"
        said = json.loads(command(capsys, monkeypatch, *words))
        assert said == {name: value for name, value in recorded.items() if not name.startswith("more_")}
    asked: list[object] = []
    generate = LineTexts.predict
    monkeypatch.setattr(LineTexts, "predict", lambda self, *a: asked.append(self.settings) or generate(self, *a))
    assert json.loads(command(capsys, monkeypatch, *words, "num_beams=3")).keys() == said.keys()
    assert [one.num_beams for one in asked] == [3]  # type: ignore[attr-defined]


READ = """
import io, json, sys
sys.modules["textkd"] = None  # to import it fails
import pyarrow.parquet
from PIL import Image
from transformers import TrOCRProcessor, VisionEncoderDecoderModel
folder, file = sys.argv[1:]
processor, model = TrOCRProcessor.from_pretrained(folder), VisionEncoderDecoderModel.from_pretrained(folder)
rows = pyarrow.parquet.read_table(file).to_pylist()
images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows]
ids = model.generate(processor(images=images, return_tensors="pt").pixel_values, max_new_tokens=15)
print(json.dumps([processor.batch_decode(ids, skip_special_tokens=True), [row["text"] for row in rows]]))
"""


@pytest.mark.slow
def test_the_student_reads_without_textkd(run: Path, tmp_path: Path) -> None:
    """What the gallery and the metrics say it read, in a process that cannot import textkd."""
    file, folder = write_lines(tmp_path / "lines.parquet", EVAL), run / "seed-1" / "student"
    done = subprocess.run([sys.executable, "-c", READ, folder, file], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said, truth = json.loads(done.stdout.splitlines()[-1])
    assert len(set(said)) > 2
    metrics = json.loads((run / "report.json").read_text())["student"]["metrics"]
    recorded = {name: value for name, value in metrics.items() if not name.startswith("more_")}
    assert tasks.ocr(eval=str(file)).output.compute_metrics(said, truth) == recorded
    gallery = json.loads((run / "results.json").read_text())["gallery"]
    assert {(line["reference"], line["said"]["student"]) for line in gallery} == set(zip(truth, said, strict=True))


@pytest.mark.slow
def test_projections_of_widths_and_grids_leave_with_the_run(tmp_path: Path) -> None:
    """A student with smaller patches and a narrower encoder, as a recipe."""
    made = Reading(tmp_path, save_teacher(tmp_path / "teacher", "deit"))
    recipe = made.recipe
    fields = {"model_type": "vit", "patch_size": [8, 4], "hidden_size": 12, "num_hidden_layers": 2}
    recipe["student"] = {"config": {"encoder": fields}, "shrink": {"decoder_layers": 1}}
    recipe |= {"control": False, "training": {**recipe["training"], "num_train_epochs": 1}}
    assert recipe["matches"].pop(1)["tap"] == "decoder.cross_attention"  # over other patches
    ended = textkd("run", made.write(recipe), folder=tmp_path)
    assert ended.code == 0, ended.said
    names = weights(tmp_path / "run" / "seed-1" / "student").keys()
    assert names
    assert not [name for name in names if not name.startswith(("encoder.", "decoder."))]
