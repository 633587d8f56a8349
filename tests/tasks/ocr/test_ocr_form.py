"""The form of labels that a teacher has learnt: found before training, used, told; refused where none agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ocr_lab import Reading, make_reader
from ocr_lab import processor as line_processor
from transformers import TrOCRProcessor, VisionEncoderDecoderModel

from textkd import TextkdError, tasks
from textkd.config import build
from textkd.experiment import describe
from textkd.tasks.ocr.form import Form, _cer, form_of
from textkd.tasks.ocr.output import LineTexts
from textkd.tasks.ocr.rows import LineCollator

pytestmark = pytest.mark.long  # each tries many recipes or trains readers

LINES = {"split": "train", "n": 8, "seed": 5, "digits": [2, 5], "height": 16}
BOS, EOS = 0, 2


STEPS = 80


def trained(start: int, lead: list[int] | None = None, skipped: int = 0) -> Any:
    """A reader that knows a few lines by heart. lead: ids before each text in its labels; skipped: how many of a text's
    own it has not learnt to write."""
    reads = line_processor()
    model = make_reader(encoder={"initializer_range": 0.1}, decoder={"init_std": 0.1, "decoder_layers": 1})
    for part in (model.config, model.generation_config):
        part.decoder_start_token_id = start
    rows = tasks.ocr({"digits": LINES}, {"digits": LINES}, processor=reads, augment=False).encode(reads, "eval", (), 16)
    features = [{**rows[i], "labels": [*(lead or []), *rows[i]["labels"][skipped:]]} for i in range(len(rows))]
    batch = LineCollator(reads, start)(features)
    given = {name: batch[name] for name in ("pixel_values", "labels", "decoder_input_ids")}
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        model.train()(**given).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def doubled() -> Any:
    """As a well-known tutorial trains it: `<s> text </s>` behind `<s>`."""
    return trained(BOS, [BOS])


def recipe_of(model: Any, folder: Path) -> tuple[Reading, dict[str, Any]]:
    model.save_pretrained(folder / "teacher")
    line_processor().save_pretrained(folder / "teacher")
    reading = Reading(folder, folder / "teacher")
    values = {**reading.recipe, "control": False, "matches": [{"tap": "logits", "loss": "kl"}]}
    values["task"] |= {"train": {"digits": LINES}, "eval": {"digits": LINES}, "augment": False}
    return reading, values


def form(model: Any, start: int) -> Form:
    reads, table = line_processor(), tasks.ocr({"digits": LINES}, {"digits": LINES}).table("eval")
    return form_of(model, LineCollator(reads, start), [table.image(i) for i in range(4)], table.texts[:4])


def test_a_teacher_behind_a_doubled_start_token_is_given_labels_as_it_has_learnt(doubled: Any, tmp_path: Path) -> None:
    found = form(doubled, BOS)
    assert (found.lead, found.agrees) == ((BOS,), True)
    assert found.read > 0.9 < found.told
    assert found.bare < 0.6
    reading, values = recipe_of(doubled, tmp_path)
    run = build.from_recipe(reading.write(values))
    run.check()
    assert "teacher: it was trained with 1 more token before each text" in " ".join(describe.notes(run.setup))
    batch = run.data.sample()
    assert batch["labels"][:, 0].tolist() == batch["decoder_input_ids"][:, 0].tolist() == [BOS] * 4
    assert batch["decoder_input_ids"][:, 1].tolist() == [BOS] * 4
    assert batch["marks"][:, 0].isnan().all()
    with torch.inference_mode():
        given = {name: batch[name] for name in ("pixel_values", "decoder_input_ids")}
        said = doubled(**given).logits.argmax(-1)
    kept = batch["labels"] != -100
    assert (said == batch["labels"])[kept].float().mean() > 0.9


@pytest.mark.long
def test_its_student_reads_by_itself_what_was_measured(doubled: Any, tmp_path: Path) -> None:
    reading, values = recipe_of(doubled, tmp_path)
    values["student"] = {"shrink": {"encoder_layers": 4, "decoder_layers": 1}}
    values["training"] |= {"max_steps": 20, "learning_rate": 5e-3}
    result = build.from_recipe(reading.write(values)).run()
    assert result.metrics["student"]["cer"] < 0.2
    model, reads = (
        VisionEncoderDecoderModel.from_pretrained(result.student),
        TrOCRProcessor.from_pretrained(result.student),
    )
    table = tasks.ocr({"digits": LINES}, {"digits": LINES}).table("eval")
    images = reads(images=[table.image(i) for i in range(len(table))], return_tensors="pt").pixel_values
    texts = reads.batch_decode(model.generate(images), skip_special_tokens=True)
    assert LineTexts().compute_metrics(texts, table.texts) == pytest.approx(result.metrics["student"])


@pytest.mark.parametrize("start", [EOS, pytest.param(BOS, marks=pytest.mark.long)])
def test_a_teacher_of_plain_labels_is_given_plain_labels(start: int) -> None:
    found = form(trained(start), start)
    assert (found.lead, found.agrees) == ((), True)
    assert found.read > 0.9 < found.told


def test_a_teacher_that_reads_well_and_says_else_under_labels_is_refused(tmp_path: Path) -> None:
    """It writes texts without the space in front that the tokenizer puts there: no form of labels is its own."""
    model = trained(EOS, skipped=1)
    found = form(model, EOS)
    assert found.read > 0.9
    assert not found.agrees
    reading, values = recipe_of(model, tmp_path)
    with pytest.raises(
        TextkdError, match=r"teacher: asked: what the teacher teacher says under labels\n.* it reads .*right"
    ):
        build.from_recipe(reading.write(values)).check()
    values["teacher"]["finetune"] = {"max_steps": 1}
    build.from_recipe(reading.write(values)).check()


def test_of_one_that_does_not_read_nothing_is_known_but_that(tmp_path: Path) -> None:
    found = form(make_reader(), EOS)
    assert found.agrees
    assert (found.cer >= 0.9, found.lines) == (True, 4)
    reading, values = recipe_of(make_reader(), tmp_path)
    told = [f"teacher: it reads next to nothing: CER {found.cer:.2f} on 4 lines"]
    for finetune in (None, {"max_steps": 1}):
        values["teacher"] |= {"finetune": finetune} if finetune else {}
        run = build.from_recipe(reading.write(values))
        run.check()
        said = [note for note in describe.notes(run.setup) if "next to nothing" in note]
        assert [note[: len(told[0])] for note in said] == ([] if finetune else told)


@pytest.mark.parametrize(
    ("said", "texts", "cer"), [(["abc", ""], ["abd", "12"], 0.6), (["", ""], ["ab", ""], 1), (["abcd"], ["bc"], 1)]
)
def test_edits_are_counted_as_the_metric_counts_them(said: list[str], texts: list[str], cer: float) -> None:
    assert _cer(said, texts) == cer == LineTexts().compute_metrics(said, texts)["cer"]
    assert bool(LineTexts().doubts(said, texts)) == (cer >= 1)


def test_a_student_that_begins_texts_otherwise_is_refused_and_the_fix_helps(tmp_path: Path) -> None:
    reading, values = recipe_of(make_reader(), tmp_path)
    student = make_reader(seed=1)
    student.config.decoder_start_token_id = student.generation_config.decoder_start_token_id = BOS
    student.save_pretrained(tmp_path / "student")
    line_processor().save_pretrained(tmp_path / "student")
    values["student"] = {"path": str(tmp_path / "student")}
    with pytest.raises(TextkdError, match="student: asked: models that read the same batches") as caught:
        build.from_recipe(reading.write(values)).check()
    assert f"decoder_start_token_id: {EOS} in its config.json and generation_config.json" in str(caught.value)
    for name in ("config.json", "generation_config.json"):
        file = tmp_path / "student" / name
        file.write_text(json.dumps({**json.loads(file.read_text()), "decoder_start_token_id": EOS}))
    build.from_recipe(reading.write(values)).check()
