"""Several teachers of one student, from a recipe to the report: live, cached, and with words of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import inside, textkd
from graph_lab import begin, home, other_tokenizer, results, save_teacher, short, stages
from references.several_teachers import soft_loss
from tiny_lab import Tiny, sentences
from transformers import AutoTokenizer, BertForSequenceClassification

from textkd import TextkdError
from textkd.config import build
from textkd.training.wiring import wire

LABELS = {"tap": "labels", "weight": 0.2}
MEAN = {"tap": "logits", "from": ["big", "other"], "combine": "mean_probabilities", "loss": "kl", "temperature": 2}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.2}


def recipe(tiny: Tiny, words: Any = None, **more: Any) -> dict[str, Any]:
    """Two teachers; words: the tokenizer of the second, if it is another one."""
    other = save_teacher(tiny.folder / "other", 5, words, num_hidden_layers=3, **STILL)
    teachers = {"big": {"path": str(tiny.folder / "teacher")}, "other": {"path": str(other)}}
    matches = [LABELS, MEAN, {"tap": "hidden", "from": "big", "layers": "uniform"}]
    student = {"shrink": {"layers": [2, 4]}, "from": "big"}
    return short(tiny, "teacher", **{"teachers": teachers, "matches": matches, "student": student} | more)


@pytest.mark.long
def test_two_teachers_end_in_a_report_of_both(tiny: Tiny) -> None:
    values = recipe(tiny)
    values["teachers"]["other"]["finetune"] = {"max_steps": 2, "per_device_train_batch_size": 8}
    build.from_recipe(tiny.write(values)).run()
    found = results(tiny.folder / "run")
    assert list(found["models"]) == ["big", "other", "student", "control"]
    assert found["compare"] == {"student": "student", "teacher": "big", "control": "control"}
    taught = {name: row["taught_by"] for name, row in found["models"].items()}
    assert taught == {"big": [], "other": [], "student": ["big", "other"], "control": []}
    steps = {name: row["runs"][0]["steps"] for name, row in found["models"].items()}
    assert steps == {"big": None, "other": 2, "student": 2, "control": 2}
    assert {row["target"] for row in found["layer_maps"]} == {"big"}


def test_a_student_may_be_made_of_the_second_teacher(tiny: Tiny) -> None:
    values = recipe(tiny, student={"shrink": {"layers": [3]}, "from": "other"}, matches=[LABELS, MEAN])
    made = build.from_recipe(tiny.write(values))
    made.check()
    other = BertForSequenceClassification.from_pretrained(tiny.folder / "other").bert.encoder.layer[2]
    mine = begin(made, "student", 1).bert.encoder.layer[0]
    assert torch.equal(mine.attention.self.query.weight, other.attention.self.query.weight)


def losses(tiny: Tiny, values: dict[str, Any], name: str) -> list[dict[str, float]]:
    """Every part of the loss, step by step."""
    values = values | {"control": False, "training": {**values["training"], "output_dir": str(tiny.folder / name)}}
    done = build.from_recipe(tiny.write(values, f"{name}.yaml")).run()
    rows = [row for row in json.loads((done.student / "textkd.json").read_text())["history"] if "parts" in row]
    return [row["parts"] for row in rows]


@pytest.mark.long
@pytest.mark.parametrize("foreign", [False, True])
def test_cached_teachers_teach_what_live_ones_teach(foreign: bool, tiny: Tiny) -> None:
    values = recipe(tiny, other_tokenizer() if foreign else None)
    live = losses(tiny, values, "live")
    for teacher in values["teachers"].values():
        teacher["cache"] = {"precision": "float32"}
    cached = losses(tiny, values, "cached")
    assert len(live) == len(cached) == 2
    for one, other in zip(live, cached, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    notes = [line for line in results(tiny.folder / "cached")["warnings"] if "of 64 rows computed" in line]
    assert [name for name in ("big", "other") if any(f", {name}, " in line for line in notes)] == ["big", "other"]
    assert losses(tiny, values, "again") == cached  # from what is there


@pytest.mark.long
def test_textkd_cache_fills_those_of_all_teachers(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tiny.write(recipe(tiny)))
    code, said = textkd(capsys, monkeypatch, "cache", file)
    assert code == 0, said
    assert said.count("64 rows (64 computed now)") == 2
    _, said = textkd(capsys, monkeypatch, "cache", file)
    assert said.count("64 rows (0 computed now)") == 2


@pytest.mark.long
def test_textkd_plan_names_all_teachers(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = recipe(tiny)
    values["teachers"]["big"]["finetune"] = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "seed": 3}
    file = str(tiny.write(values | {"seeds": [1, 2]}))
    before = inside(tiny.folder)
    code, said = textkd(capsys, monkeypatch, "plan", file, "--no-time")
    assert code == 0, said
    assert inside(tiny.folder) == before
    assert f"big, seed 3 loaded from {tiny.folder / 'teacher'} learns from labels to do 4" in said
    for seed in (1, 2):
        assert f"student, seed {seed} made of big learns from big, other to do 2" in said
        assert f"control, seed {seed} made of big learns from labels to do 2" in said
    assert said.count("big, seed 3 loaded") == 1


# -- a teacher with words of its own ---------------------------------------------------------------------------------


@pytest.mark.long
def test_logits_of_a_teacher_with_other_words_are_those_of_its_own_rows(tiny: Tiny) -> None:
    words = other_tokenizer()
    made = build.from_recipe(tiny.write(recipe(tiny, words, matches=[LABELS, MEAN])))
    made.check()
    data, _ = made.setup.rows.of(made.experiment.training("student"))
    batch = data.collator([data.train[i] for i in range(8)])
    student = begin(made, "student", 1).eval()
    teachers = {name: made.start(name) for name in ("big", "other")}
    wiring = wire({"student": student}, teachers, stages(made)[0].matches, batch, data.label_loss, rows=64)
    _, parts, _ = wiring.loss(wiring.learners.module, batch, 0.5)

    texts, labels = zip(*sentences(64, 0)[:8], strict=True)
    logits = []
    for name, folder in (("big", "teacher"), ("other", "other")):
        model = BertForSequenceClassification.from_pretrained(tiny.folder / folder).eval()
        tokenizer = words if name == "other" else made.setup.rows.tokenizer
        with torch.no_grad():
            logits.append(model(**tokenizer(list(texts), return_tensors="pt", padding=True)).logits)
    own = student(**made.setup.rows.tokenizer(list(texts), return_tensors="pt", padding=True)).logits
    expected = soft_loss("mean_probabilities", own, logits, torch.tensor(labels), 2.0)
    found = next(value for name, value in parts.items() if name.startswith("logits"))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    wrong = made.setup.rows.tokenizer(list(texts), return_tensors="pt", padding=True)
    with torch.no_grad():
        assert not torch.allclose(teachers["other"](**wrong).logits, logits[1], atol=1e-2)  # other words are other rows
    wiring.close()


def measured(folder: Path, words: Any) -> float:
    """The accuracy of a teacher on the evaluation rows, by hand."""
    texts, labels = zip(*sentences(32, 1), strict=True)
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        answers = model(**words(list(texts), return_tensors="pt", padding=True)).logits.argmax(-1)
    return (answers == torch.tensor(labels)).float().mean().item()


@pytest.mark.long
def test_such_a_teacher_ends_in_a_report_with_the_figures_of_its_own_rows(tiny: Tiny) -> None:
    build.from_recipe(tiny.write(recipe(tiny, other_tokenizer(), matches=[LABELS, MEAN]))).run()
    found = results(tiny.folder / "run")["models"]
    expected = measured(tiny.folder / "other", other_tokenizer())
    assert found["other"]["runs"][0]["metrics"]["accuracy"] == pytest.approx(expected)


@pytest.mark.long
@pytest.mark.parametrize("tap", ["hidden", "attention", "embeddings"])
def test_what_stands_at_each_token_cannot_be_compared_then(tap: str, tiny: Tiny) -> None:
    match = (
        {"tap": "hidden:0", "from": "other"} if tap == "embeddings" else {"tap": tap, "from": "other", "layers": "last"}
    )
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(tiny.write(recipe(tiny, other_tokenizer(), matches=[LABELS, match]))).check()
    (found,) = caught.value.problems
    assert found.where.startswith("matches[1]")
    assert "other" in str(found)
    assert any(word in str(found) for word in ("vocabulary", "tokenizer", "words of its own"))


@pytest.mark.long
def test_such_a_teacher_is_fine_tuned_on_its_own_rows(tiny: Tiny) -> None:
    values = recipe(tiny, other_tokenizer(), matches=[LABELS, MEAN], control=False)
    values["teachers"]["other"]["finetune"] = {
        "max_steps": 40,
        "per_device_train_batch_size": 16,
        "learning_rate": 5e-3,
    }
    made = build.from_recipe(tiny.write(values))
    made.run()
    kept = home(made, "other", 1)
    words = AutoTokenizer.from_pretrained(kept)
    assert words.get_vocab() == other_tokenizer().get_vocab()
    accuracy = results(tiny.folder / "run")["models"]["other"]["runs"][0]["metrics"]["accuracy"]
    assert accuracy == pytest.approx(measured(kept, words))
    assert accuracy > 0.7  # it has learnt from words that it knows


def test_a_student_of_its_blocks_is_refused(tiny: Tiny) -> None:
    """The rows of a student are those of the first teacher's words."""
    values = recipe(
        tiny, other_tokenizer(), matches=[LABELS, MEAN], student={"shrink": {"layers": [3]}, "from": "other"}
    )
    with pytest.raises(TextkdError, match="vocab"):
        build.from_recipe(tiny.write(values)).check()
