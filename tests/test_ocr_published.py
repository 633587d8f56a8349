"""Readers as they are published: `microsoft/trocr-*` have no pooler in their encoder, which no decoder would read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from ocr_lab import EVAL, Reading, save_teacher, write_lines
from safetensors.torch import load_file, save_file
from transformers import VisionEncoderDecoderModel

from textkd import TextkdError, cli, pretrained
from textkd.taps import Capture


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = save_teacher(tmp_path / "teacher")
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "pooler" not in name}
    assert len(kept) == len(weights) - 2
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_it_loads_whole_and_alike_every_time(published: Path, tmp_path: Path) -> None:
    model, missing = pretrained.load_model_info(published, VisionEncoderDecoderModel)
    assert missing == []
    assert model.encoder.pooler is None
    with pytest.raises(TextkdError, match="no pooler"):
        Capture(model, ["encoder.pooled"])
    model.save_pretrained(tmp_path / "again")
    assert pretrained.load_model_info(tmp_path / "again", VisionEncoderDecoderModel)[1] == []
    del model.encoder.layernorm
    model.save_pretrained(tmp_path / "less")
    with pytest.raises(TextkdError, match="layernorm"):
        pretrained.load_model(tmp_path / "less", VisionEncoderDecoderModel)


def test_it_teaches_is_evaluated_and_its_student_is_exported(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def textkd(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["textkd", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        assert not stopped.value.code, printed.err
        return printed.out

    reading = Reading(tmp_path, published)
    recipe = {**reading.recipe, "control": False}
    recipe["training"]["num_train_epochs"] = 1
    textkd("run", reading.write(recipe))
    lines = write_lines(tmp_path / "lines.parquet", EVAL)
    run = tmp_path / "run"
    textkd("export", run, tmp_path / "out")
    for folder in (published, run / "seed-1" / "student", tmp_path / "out"):
        assert "cer" in json.loads(textkd("eval", folder, "--task", "ocr", "--file", lines, "--json"))
    plain = VisionEncoderDecoderModel.from_pretrained(tmp_path / "out")
    assert torch.isfinite(plain.generate(torch.zeros(1, 3, *plain.config.encoder.image_size)).float()).all()
