"""Readers as they are published: `microsoft/trocr-*` have no pooler in their encoder, which no decoder would read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from ocr_lab import EVAL, HEIGHT, WIDTH, Reading, save_teacher, write_lines
from safetensors.torch import load_file, save_file
from second_proofs import but_few
from transformers import VisionEncoderDecoderModel

from textkd import TextkdError
from textkd.cli import app
from textkd.config import build
from textkd.models import loading
from textkd.models.files import UMASK
from textkd.models.taps import Capture


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = save_teacher(tmp_path / "teacher")
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "pooler" not in name}
    assert len(kept) == len(weights) - 2
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_it_loads_whole_and_alike_every_time(published: Path, tmp_path: Path) -> None:
    model, missing = loading.load_model_info(published, VisionEncoderDecoderModel)
    assert missing == []
    assert model.encoder.pooler is None
    with pytest.raises(TextkdError, match="no pooler"):
        Capture(model, ["encoder.pooled"])
    model.save_pretrained(tmp_path / "again")
    assert loading.load_model_info(tmp_path / "again", VisionEncoderDecoderModel)[1] == []
    del model.encoder.layernorm
    model.save_pretrained(tmp_path / "less")
    with pytest.raises(TextkdError, match="layernorm"):
        loading.load_model(tmp_path / "less", VisionEncoderDecoderModel)


@pytest.mark.long
def test_it_teaches_is_evaluated_and_its_student_is_exported(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def textkd(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["textkd", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            app.main()
        printed = capsys.readouterr()
        assert not stopped.value.code, printed.err
        return printed.out

    reading = Reading(tmp_path, published)
    values = {**reading.recipe, "control": False}
    values["training"]["num_train_epochs"] = 1
    textkd("run", reading.write(values))
    lines = write_lines(tmp_path / "lines.parquet", EVAL)
    run = tmp_path / "run"
    textkd("export", run, tmp_path / "out")
    for folder in (published, run / "seed-1" / "student", tmp_path / "out"):
        assert "cer" in json.loads(textkd("eval", folder, "--task", "ocr", "--file", lines, "--json"))
    plain = VisionEncoderDecoderModel.from_pretrained(tmp_path / "out")
    assert torch.isfinite(plain.generate(torch.zeros(1, 3, *plain.config.encoder.image_size)).float()).all()


def tokens_of(folder: Path, where: str) -> tuple[int | None, int | None]:
    """(start, pad) as they stand in a folder's config, in its decoder's, or in the generation settings."""
    config = json.loads((folder / "config.json").read_text())
    part = {"config": config, "decoder": config["decoder"]}.get(where)
    found = json.loads((folder / "generation_config.json").read_text()) if part is None else part
    return found.get("decoder_start_token_id"), found.get("pad_token_id")


def without_tokens(folder: Path, decoder_too: bool) -> None:
    names = ("decoder_start_token_id", "pad_token_id")
    for file in (folder / "config.json", folder / "generation_config.json"):
        said = json.loads(file.read_text())
        for part in (said, said.get("decoder", {}) if decoder_too else {}):
            for name in names:
                part.pop(name, None)
        file.write_text(json.dumps(said))


@pytest.mark.long
def test_a_student_of_a_teacher_whose_decoder_alone_says_how_texts_begin_says_it_itself(
    published: Path, tmp_path: Path
) -> None:
    """As microsoft/trocr-* do: a plain `generate` of the student would else begin with bos."""
    without_tokens(published, decoder_too=False)
    assert (tokens_of(published, "config"), tokens_of(published, "decoder")) == ((None, None), (2, 1))
    reading = Reading(tmp_path, published)
    values = {**reading.recipe, "control": False}
    values["training"]["num_train_epochs"] = 1
    student = build.from_recipe(reading.write(values)).run().student
    assert tokens_of(student, "config") == tokens_of(student, "generation") == (2, 1)
    plain = VisionEncoderDecoderModel.from_pretrained(student)
    assert plain.generate(torch.zeros(1, 3, HEIGHT, WIDTH), max_new_tokens=2)[0, 0] == 2
    assert (student / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~UMASK


@pytest.mark.long
def test_a_folder_that_does_not_say_how_texts_begin_is_refused(published: Path, tmp_path: Path) -> None:
    """transformers fills in its class's defaults, which mean other tokens to another tokenizer."""
    without_tokens(published, decoder_too=True)
    reading = Reading(tmp_path, published)
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(reading.write(reading.recipe)).check()
    assert "a decoder_start_token_id of the model" in str(caught.value)
    assert "a pad_token_id of the model" in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize(
    "tap", but_few(["encoder.attention", "encoder.query", "decoder.cross_attention"], "decoder.cross_attention")
)
def test_maps_over_other_patches_are_refused_where_there_are_as_many(published: Path, tmp_path: Path, tap: str) -> None:
    reading = Reading(tmp_path, published)
    student = {"config": {"encoder": {"patch_size": [HEIGHT // 2, 16]}}}  # 2 x 4 patches beside 1 x 8
    values = {**reading.recipe, "student": student, "matches": [{"tap": "labels"}, {"tap": tap}]}
    with pytest.raises(TextkdError, match=r"2x4 patches after .* the other side has 1x8 patches"):
        build.from_recipe(reading.write(values)).check()
    values["matches"] = [{"tap": "labels"}, {"tap": "encoder.hidden"}, {"tap": "decoder.cross_query"}]
    build.from_recipe(reading.write(values)).check()


@pytest.mark.long
@pytest.mark.parametrize(
    ("option", "value"), but_few([("height", 48), ("tokenizer", "unigram"), ("characters", "abc")], ("height", 48))
)
def test_options_without_effect_are_refused(published: Path, tmp_path: Path, option: str, value: object) -> None:
    """The processor of the teacher's folder has a size and a tokenizer."""
    reading = Reading(tmp_path, published)
    recipe = reading.recipe
    recipe["task"].pop("processor", None)
    build.from_recipe(reading.write(recipe)).check()
    recipe["task"][option] = value
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(reading.write(recipe)).check()
    assert [p.where for p in caught.value.problems] == [f"task.{option}"]
