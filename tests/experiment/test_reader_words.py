"""Readers that write fewer pieces: the same logits for those that stay, compared with those of the teacher alone; runs,
caches and exports of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ocr_lab
import pyarrow.parquet
import pytest
import torch
from ocr_lab import Reading, make_reader, save_teacher
from torch.nn import functional
from transformers import TrOCRProcessor, VisionEncoderDecoderModel

from textkd import Match, TextkdError, wire
from textkd.config import build
from textkd.experiment.encodings import pieces_of
from textkd.models import loading
from textkd.models.students.fewer_words import trimmed_words
from textkd.models.students.vocabulary import choose, trim
from textkd.tasks.ocr.processor import line_processor, load_processor
from textkd.training.wiring import Reading as Read

OTHERS = "ÄÖÜäöüßéèêçñ"


def wide_processor() -> Any:
    return line_processor([*"0123456789", OTHERS], height=ocr_lab.HEIGHT, width=ocr_lab.WIDTH)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Readers of this test know letters that no line has."""
    monkeypatch.setattr(ocr_lab, "processor", wide_processor)
    return wide_processor()


def batch_of(words: Any, texts: list[str]) -> dict[str, torch.Tensor]:
    """Made-up images with the ids of texts of one length."""
    ids = torch.tensor([[*words.tokenizer(text, add_special_tokens=False).input_ids, words.tokenizer.eos_token_id]
                        for text in texts])  # fmt: skip
    images = torch.rand(len(texts), 3, ocr_lab.HEIGHT, ocr_lab.WIDTH, generator=torch.Generator().manual_seed(0))
    start = torch.full((len(texts), 1), words.tokenizer.eos_token_id)
    return {"pixel_values": images, "labels": ids, "decoder_input_ids": torch.cat([start, ids[:, :-1]], 1)}


@pytest.mark.parametrize("tied", [True, False])
def test_pieces_that_stay_have_the_same_logits(wide: Any, tied: bool) -> None:
    model: Any = make_reader()
    head = model.decoder.output_projection
    if not tied:
        head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
    kept = choose(wide.tokenizer, [["0123"], ["77"]])
    small = trim(model, wide, kept)
    words = loading.own_tokenizer(small)
    assert len(kept.ids) < len(wide.tokenizer) == head.out_features
    assert pieces_of(wide, words) == kept.ids
    assert (small.decoder.output_projection.weight is small.decoder.get_input_embeddings().weight) == tied
    whole, cut = batch_of(wide, ["0127", "7310"]), batch_of(words, ["0127", "7310"])
    with torch.no_grad():
        wanted = model(pixel_values=whole["pixel_values"], decoder_input_ids=whole["decoder_input_ids"]).logits
        found = small(pixel_values=cut["pixel_values"], decoder_input_ids=cut["decoder_input_ids"]).logits
    torch.testing.assert_close(found, wanted[..., list(kept.ids)])
    for told in (small.config, small.config.decoder, small.generation_config):
        assert told.eos_token_id in (words.tokenizer.eos_token_id, None)
    assert small.config.decoder_start_token_id == words.tokenizer.eos_token_id
    assert model.config.decoder.vocab_size == len(wide.tokenizer)


def test_the_teacher_is_compared_on_the_pieces_of_both(wide: Any) -> None:
    """A step beside a plain one: softmax over what both write."""
    teacher: Any = make_reader(seed=1)
    kept = choose(wide.tokenizer, [["0123"], ["77"]])
    student = trim(make_reader(), wide, kept)
    words = loading.own_tokenizer(student)
    own, theirs = batch_of(words, ["0127", "7310"]), batch_of(wide, ["0127", "7310"])
    batch = {**own, **{f"teacher/{name}": theirs[name] for name in ("labels", "decoder_input_ids")}}
    how = {"teacher": Read(pieces=kept.ids)}
    wiring = wire(student, teacher, [Match("logits", loss="kl")], batch, reading=how)
    loss = wiring.loss(student, batch).total
    wiring.close()
    with torch.no_grad():
        images = own["pixel_values"]
        said = student(pixel_values=images, decoder_input_ids=own["decoder_input_ids"]).logits.log_softmax(-1)
        truth = teacher(pixel_values=images, decoder_input_ids=theirs["decoder_input_ids"]).logits
        truth = truth[..., list(kept.ids)].log_softmax(-1)
        wanted = functional.kl_div(said, truth, log_target=True, reduction="sum") / own["labels"].numel()
    torch.testing.assert_close(loss.detach(), wanted)


def test_a_fused_head_is_refused(wide: Any) -> None:
    kept = choose(wide.tokenizer, [["0123"]])
    student = trim(make_reader(), wide, kept)
    batch = batch_of(loading.own_tokenizer(student), ["0123"] * 2)
    with pytest.raises(TextkdError, match="fewer pieces than its teacher"):
        wire(student, make_reader(), [Match("logits", loss="kl", fused=True)], batch,
             reading={"teacher": Read(pieces=kept.ids)})  # fmt: skip


def test_pieces_that_texts_need_have_to_stay(wide: Any) -> None:
    texts = [["the cat sat"], ["then that"]]
    words = line_processor(
        [text for (text,) in texts] * 9, height=16, width=64, kind="unigram", vocab_size=30
    ).tokenizer
    kept = choose(words, texts)
    cut = choose(words, texts, len(kept.ids) - 2)
    assert kept.cut == 0 < cut.cut
    with pytest.raises(TextkdError, match="written in other pieces"):
        trim(make_reader(), words, cut)


def recipe(folder: Path, cached: bool) -> dict[str, Any]:
    values = Reading(folder, folder / "teacher").recipe
    values["student"]["vocabulary"] = "task"
    values["teacher"]["cache"] = cached and {"precision": "float32"}
    values["task"]["augment"] = 0.0
    values["training"]["output_dir"] = str(folder / ("cached" if cached else "live"))
    values["control"] = False
    return values


def history(folder: Path) -> list[float]:
    """The logged losses of the student."""
    told = json.loads((folder / "results.json").read_text())["models"]["student"]["runs"][0]["history"]
    return [row["loss"] for row in told if "loss" in row]


@pytest.mark.long
def test_a_run_live_and_from_a_cache(wide: Any, tmp_path: Path) -> None:
    lab = Reading(tmp_path, save_teacher(tmp_path / "teacher"))
    for cached in (False, True):
        build.from_recipe(lab.write(recipe(tmp_path, cached))).run()
    assert history(tmp_path / "live") == pytest.approx(history(tmp_path / "cached"), rel=1e-5)
    folder = tmp_path / "live" / "seed-1" / "student"
    words = TrOCRProcessor.from_pretrained(folder).tokenizer
    assert not set(OTHERS) & set(words.get_vocab())
    assert VisionEncoderDecoderModel.from_pretrained(folder).config.decoder.vocab_size == len(words) < 60


@pytest.mark.slow
def test_it_is_exported(wide: Any, tmp_path: Path) -> None:
    lab = Reading(tmp_path, save_teacher(tmp_path / "teacher"))
    build.from_recipe(lab.write({**recipe(tmp_path, False), "artifacts": [{"format": "onnx"}]})).run()
    rows = json.loads((tmp_path / "live" / "results.json").read_text())["models"]
    assert rows["student-onnx"]["runs"][0]["metrics"] == rows["student"]["runs"][0]["metrics"]


@pytest.mark.long
@pytest.mark.parametrize("key", ["fused", "keep"])
def test_what_does_not_fit_is_told_by_check(wide: Any, tmp_path: Path, key: str) -> None:
    lab, values = Reading(tmp_path, save_teacher(tmp_path / "teacher")), recipe(tmp_path, False)
    if key == "fused":
        values["matches"] = [{"tap": "logits", "loss": "kl", "fused": True}]
    else:
        values["student"]["vocabulary"] = {"from": "task", "keep": 3}
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(lab.write(values)).check()
    assert all(one.fix for one in caught.value.problems)
    assert "pieces" in str(caught.value)


@pytest.mark.slow
def test_the_real_processor_of_trocr_small() -> None:
    """Of 64,002 pieces the lines of old books need fewer than 10,000; they are cut as before."""
    shared = Path(os.environ.get("TEXTKD_SHARED", "../shared"))
    folder, lines = shared / "models" / "trocr-small-printed-config", shared / "data" / "ocr_oldbooks" / "train.parquet"
    if not lines.is_file() or not folder.is_dir():
        pytest.skip(f"{lines} or {folder} is not here (TEXTKD_SHARED)")
    words = load_processor(folder)
    texts = [[text] for text in pyarrow.parquet.read_table(lines, columns=["text"])["text"].to_pylist()]
    kept = choose(words.tokenizer, texts)
    fewer = trimmed_words(words, kept.ids).tokenizer
    assert kept.cut == 0
    assert len(fewer) == len(kept.ids) < 10_000 < len(words.tokenizer)
    for (text,) in texts[::20]:
        one, other = (each.convert_ids_to_tokens(each(text).input_ids) for each in (words.tokenizer, fewer))
        assert one == other
