"""Students of a recipe with other layers: trained, killed, gone on with, published, taken up by further runs."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_lab import begin
from ocr_lab import EVAL, TRAIN, save_teacher
from refused_lab import plain_refuses
from safetensors.torch import load_file
from tiny_lab import Tiny

import textkd
from textkd.config import build
from textkd.errors import TextkdError
from textkd.experiment import describe, fingerprint
from textkd.experiment.evaluate import evaluate
from textkd.models.own import rebuilding
from textkd.models.own.pieces import Grouped, LowRank, WordTable
from textkd.models.students import check_spec
from textkd.training.trainer import DistilTrainer

WORDS = {"factorise": {"embeddings": 6, "layers": {"attention": 4}}, "cheap": {"ffn": "grouped"}}
STUDENT = {"shrink": {"layers": [2, 4]}, "vocabulary": "task", **WORDS}
SAVED = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "average": 0.5,
         "load_best_model_at_end": False}  # fmt: skip


def recipe(tiny: Tiny, student: dict[str, Any] = STUDENT, **changes: Any) -> Any:
    told = {**tiny.recipe, "student": student, "control": False, **changes}
    told["training"] = {**tiny.recipe["training"], **changes.get("training", {})}
    return build.from_recipe(tiny.write(told))


@pytest.mark.long
def test_student_and_control_begin_alike_and_every_seed_otherwise(tiny: Tiny) -> None:
    run = recipe(tiny, control=True)
    one, control, other = begin(run, "student", 1), begin(run, "control", 1), begin(run, "student", 2)
    assert same(one.state_dict(), control.state_dict())
    assert not same(one.state_dict(), other.state_dict())
    kinds = {type(module) for module in one.modules()}
    assert {Grouped, LowRank, WordTable} <= kinds
    assert sum(isinstance(module, LowRank) for module in one.modules()) == 2 * 4


def same(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.long
def test_a_look_before_the_run_decomposes_nothing(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    run = recipe(tiny)
    began = begin(run, "student", 1)
    monkeypatch.setattr(rebuilding, "factors", None)
    looked = recipe(tiny).start("student")
    assert [tuple(p.shape) for p in looked.parameters()] == [tuple(p.shape) for p in began.parameters()]
    assert looked.config.textkd == began.config.textkd


@pytest.mark.long
def test_other_words_make_another_node(tiny: Tiny) -> None:
    words = [{"factorise": {"embeddings": 6}}, {"factorise": {"embeddings": 5}}, {"cheap": {"ffn": "grouped"}},
             {"cheap": {"ffn": "grouped", "groups": 2}}]  # fmt: skip
    runs = [recipe(tiny, student) for student in [words[0], *words]]
    first, *keys = (fingerprint.key(run.setup, run.runner.nodes[-1]) for run in runs)
    assert first == keys[0]
    assert len(set(keys)) == len(words)


@pytest.mark.long
def test_a_run_is_killed_goes_on_and_is_taken_up(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe(tiny, training={**SAVED, "output_dir": str(tiny.folder / "whole")}).run()
    steps, original = list[int](), DistilTrainer.training_step

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps.append(self.state.global_step)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(DistilTrainer, "training_step", step)
    with pytest.raises(KeyboardInterrupt):
        recipe(tiny, training=SAVED).run()
    recipe(tiny, training=SAVED).run()
    assert steps == [*range(6), *range(4, 8)]  # from the checkpoint of step 4 on
    student = tiny.folder / "run" / "seed-1" / "student"
    weights = "model.textkd.safetensors"
    assert same(load_file(student / weights), load_file(tiny.folder / "whole" / "seed-1" / "student" / weights))

    row = json.loads((tiny.folder / "run" / "results.json").read_text())["models"]["student"]
    assert row["loads_with"] == "textkd"
    assert row["disk_mb"] == pytest.approx((student / weights).stat().st_size / 1e6)
    assert not [told for told in json.loads((student / "textkd.json").read_text())["doubts"] if "published" in told]
    card = (student / "README.md").read_text()
    assert "model = textkd.load(folder)" in card
    assert "library_name: textkd" in card
    assert "not with plain transformers" in card
    assert "Loaded with textkd" in (tiny.folder / "run" / "report.html").read_text()
    plain_refuses(student, "AutoConfig", "BertForSequenceClassification")

    metrics = evaluate(str(student), "glue/sst2", tiny.folder / "data" / "dev.tsv")
    assert metrics["accuracy"] == pytest.approx(row["runs"][0]["metrics"]["accuracy"])
    elsewhere = {"output_dir": str(tiny.folder / "further")}
    for words in ({"teacher": {"path": str(student)}}, {"student": {"path": str(student)}},
                  {"student": {"from": str(student), "shrink": {"layers": [1]}}}):  # fmt: skip
        further = recipe(tiny, **{"student": {"shrink": {"layers": [1]}}, **words, "training": elsewhere})
        further.check()
        name = "teacher" if "teacher" in words else "student"
        model = further.start(name)
        assert isinstance(model.bert.embeddings.word_embeddings, WordTable)
        if "path" in words[name]:
            assert same(model.state_dict(), textkd.load(student).state_dict())


@pytest.mark.long
def test_the_best_checkpoint_is_loaded_at_the_end(tiny: Tiny) -> None:
    best = {**SAVED, "average": None, "load_best_model_at_end": True, "save_total_limit": 1}
    recipe(
        tiny, {"factorise": {"layers": 4}}, training={key: one for key, one in best.items() if one is not None}
    ).run()
    row = json.loads((tiny.folder / "run" / "results.json").read_text())["models"]["student"]["runs"][0]
    seen = [one["eval"]["accuracy"] for one in row["history"] if one.get("eval")]
    assert row["metrics"]["accuracy"] == pytest.approx(max(seen))


@pytest.mark.long
def test_what_is_told_before_a_run(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    run = recipe(tiny)
    with caplog.at_level(logging.INFO, "textkd"):
        assert any(told.startswith("student: loaded with textkd") for told in describe.notes(run.setup))
    assert any("grouped ffn layers start from random weights" in told for told in run.experiment.warnings)
    low = recipe(tiny, {"factorise": {"layers": 4}})
    assert not low.experiment.warnings


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"factorise": {"embeddings": 0}}, ["factorise.embeddings", "a rank is 1 or more"]),
    ({"factorise": {"embeddings": -3, "layers": 1.5}}, ["factorise.embeddings: -3", "at most 1"]),
    ({"factorise": {"layers": 0.0}}, ["a share is above 0"]),
    ({"factorise": {"layers": True}}, ["neither a rank nor a share"]),
    ({"factorise": {"layers": "64"}}, ["neither a rank nor a share"]),
    ({"factorise": {"layers": {}}}, ["nothing in it"]),
    ({"factorise": {"layers": {"fnn": 4}}}, ["factorise.layers.fnn", "nearest: ffn"]),
    ({"factorise": {}}, ["student factorise: {}"]),
    ({"factorise": 8}, ["not a block of keys"]),
    ({"factorise": {"embedings": 8}}, ["nearest: embeddings"]),
    ({"factorise": {"embeddings": 8, "decoder": {"layers": 3}}}, ["keep one kind"]),
    ({"factorise": {"decoder": 3}}, ["factorise.decoder", "not a block of keys"]),
    ({"cheap": {"ffn": "grouped", "groups": 1}}, ["not a number of groups"]),
    ({"cheap": {"ffn": "low_rank", "groups": 4}}, ["leave groups out"]),
    ({"cheap": {"ffn": "grouped", "rank": 4}}, ["leave rank out"]),
    ({"cheap": {"ffn": "low_rank", "rank": 0}}, ["a rank is 1 or more"]),
    ({"cheap": {"ffn": "botleneck"}}, ["nearest: bottleneck"]),
    ({"cheap": {"ffn": ["grouped"]}}, ["no such kind of layer"]),
    ({"cheap": {"groups": 4}}, ["neither ffn nor attention"]),
    ({"cheap": {"fn": "grouped", "ffn": "grouped"}}, ["nearest: ffn"]),
    ({"cheap": {"ffn": "grouped"}, "factorise": {"layers": 4}}, ["cheap.ffn", "either factorised or cheap"]),
    ({"factorize": {"layers": 4}, "shrink": {"layers": [1]}}, ["nearest: factorise"]),
]  # fmt: skip


@pytest.mark.parametrize(("student", "said"), WRONG, ids=[said[-1] for _, said in WRONG])
def test_what_cannot_be_is_told_with_its_place(student: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        check_spec(student)
    text = str(told.value)
    assert all(part in text for part in said), text


@pytest.mark.long
def test_what_only_a_model_can_tell(tiny: Tiny) -> None:
    words = {"factorise": {"layers": 99}, "cheap": {"ffn": "grouped", "groups": 3}}
    words["factorise"] = {"layers": {"attention": 99}, "embeddings": 15}
    with pytest.raises(TextkdError) as told:
        recipe(tiny, words).check()
    places = {"student.factorise.layers.attention", "student.factorise.embeddings", "student.cheap.groups"}
    assert places <= {one.where for one in told.value.problems}
    assert not (tiny.folder / "run").exists()


@pytest.mark.long
@pytest.mark.parametrize("beside", [{"config": {"num_hidden_layers": 1}}, {"vocabulary": {"keep": 15}}])
def test_beside_other_kinds(tiny: Tiny, beside: dict[str, Any]) -> None:
    model = begin(recipe(tiny, {"factorise": {"embeddings": 4}, **beside}), "student", 1)
    assert isinstance(model.bert.embeddings.word_embeddings, WordTable)


@pytest.mark.long
def test_a_reader(tmp_path: Path) -> None:
    words = {"factorise": {"decoder": {"embeddings": 4}}, "cheap": {"encoder": {"attention": "low_rank"}}}
    told = {
        "task": {"name": "ocr", "train": {"digits": TRAIN}, "eval": {"digits": EVAL}},
        "teacher": {"path": str(save_teacher(tmp_path / "teacher"))},
        "student": {"shrink": {"encoder_layers": 2}, **words}, "control": False, "seeds": [1],
        "training": {"max_steps": 2, "per_device_train_batch_size": 4, "output_dir": str(tmp_path / "run")},
        "matches": [{"tap": "logits", "loss": "kl"}, {"tap": "encoder.hidden", "layers": "uniform"}],
    }  # fmt: skip
    run = build.from_recipe(Tiny(tmp_path).write(told))
    run.check()
    made = begin(run, "student", 1)
    assert isinstance(made.decoder.model.decoder.embed_tokens, WordTable)
    assert isinstance(made.encoder.layers[0].attention.q_proj, LowRank)
    made.save_pretrained(tmp_path / "reader")
    pixels = torch.randn(2, 3, 16, 64)
    assert torch.equal(textkd.load(tmp_path / "reader").generate(pixels), made.generate(pixels))
