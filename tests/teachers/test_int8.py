"""The teacher in int8: its taps are those of a model on the int8 grid, live and cached, told in the report; what it
cannot be is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_lab import Tiny, make_teacher
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from textkd import TextkdError
from textkd.config import build
from textkd.models import loading
from textkd.models.taps import Address, Capture
from textkd.models.transforms.quantised import quantised
from textkd.teachers import CachedTeacher, LiveOptions, LiveTeacher
from textkd.teachers.int8 import Int8Teacher, problems
from textkd.training.agreement import _counting, _of_logits

pytest.importorskip("onnxruntime")
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 9, 3, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long(), "labels": torch.tensor([0, 1])}
NAMES = ["logits", "hidden:2", "attention:3", "value:1"]


@pytest.mark.long
def test_taps_are_those_of_the_int8_grid() -> None:
    """One row: onnxruntime's range of activations is then that of the row, as on our grid."""
    model = make_teacher()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    teacher, row = Int8Teacher(model, NAMES), {name: column[:1] for name, column in BATCH.items()}
    taps, on_grid = teacher.taps(row), loading.clone(model)
    capture = Capture(on_grid, NAMES)
    with torch.no_grad(), quantised([on_grid]):
        wanted = capture.run(on_grid, **{k: v for k, v in row.items() if k != "labels"})["taps"]
    live = LiveTeacher(model, NAMES)
    exact = live.taps(row)
    live.close()
    for name in NAMES:
        assert taps[name].dtype == torch.float32
        assert not taps[name].requires_grad
        torch.testing.assert_close(taps[name], wanted[name], rtol=1e-4, atol=1e-5)
        assert 1e-6 < float((taps[name] - exact[name]).abs().max()) < 0.2
    teacher.close()

    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.slow
def test_its_cache_is_another_one_than_that_of_float32(tmp_path: Path) -> None:
    model, names = make_teacher(), ["hidden:2"]
    kept = {}
    for how, live in ((None, None), ("int8", lambda names: Int8Teacher(model, names))):
        teacher = CachedTeacher(model, names, tmp_path, autocast=how, live=live)
        first = teacher.taps(BATCH)["hidden:2"].clone()
        assert torch.equal(teacher.taps(BATCH)["hidden:2"], first)
        assert teacher.computed == 2
        kept[how] = first
        teacher.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert not torch.equal(kept[None], kept["int8"])


SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def test_what_cannot_be_is_told() -> None:
    model = BertModel(BertConfig(vocab_size=20, **SIZES))
    asked = [Address.parse(name) for name in ("gradient:1", "labels", "hidden:1")]
    told = [one.asked for one in problems(model, asked)]
    assert told == ["gradient:1 of a teacher in int8", "labels of a teacher in int8"]
    (images,) = problems(ViTModel(ViTConfig(image_size=8, patch_size=4, **SIZES)), [])
    assert "reads no texts" in images.found
    with pytest.raises(TextkdError, match="takes a backward"):
        Int8Teacher(make_teacher(), ["gradient:1"])


@pytest.mark.parametrize(
    ("options", "wheres"),
    [
        ({"runtime": "int4"}, ["runtime"]),
        ({"runtime": "int8", "precision": "bf16", "sharded": True}, ["precision", "sharded"]),
    ],
)
def test_what_does_not_fit_beside_it_is_refused(options: dict[str, Any], wheres: list[str]) -> None:
    with pytest.raises(TextkdError) as caught:
        LiveOptions(**options)
    assert [one.where for one in caught.value.problems] == wheres
    assert all(one.fix for one in caught.value.problems)


def test_agreement_counts_what_is_no_padding() -> None:
    taps = torch.ones(2, 5, 3)
    assert _counting("hidden:1", taps, BATCH).shape == (8 * 3,)
    assert _counting("logits", taps, {**BATCH, "labels": IDS * 0}).shape == (10, 3)
    assert _counting("logits", taps, {**BATCH, "labels": torch.where(IDS > 3, 1, -100)}).shape == (4, 3)
    assert _counting("pooled", taps[:, 0], BATCH).shape == (6,)
    assert _counting("attention:1", torch.ones(2, 4, 5, 5), BATCH).shape == (4 * (5 * 5 + 3 * 3),)
    assert _counting("query:1", torch.ones(2, 4, 5, 6), BATCH).shape == (8 * 4 * 6,)
    whole, rounded = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0, 0.5], [3.0, 0.0]])
    assert _of_logits(whole, rounded) == "logits 40.1% (50.0% the same answers, at most 1.5 of 3)"


@pytest.mark.long
@pytest.mark.parametrize("cached", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_run_by_recipe(tiny: Tiny, cached: bool) -> None:
    values = tiny.recipe
    values["teacher"] |= {"runtime": "int8", "cache": cached}
    values["control"] = False
    values["matches"] += [{"tap": "attention", "layers": "uniform"}, {"tap": "value", "layers": "uniform"}]
    build.from_recipe(tiny.write(values)).run()
    text = (tiny.folder / "run" / "report.html").read_text()
    assert "teacher computed in int8 (onnxruntime" in text
    assert "the same answers" in text
    other = build.from_recipe(tiny.write({**values, "teacher": {"path": values["teacher"]["path"], "cache": cached}}))
    with pytest.raises(TextkdError, match=r"int8"):
        other.run()


@pytest.mark.parametrize(
    ("runtime", "match"), [("int9", {"tap": "logits"}), ("int8", {"student": "gradient:2", "teacher": "gradient:4"})]
)
def test_a_recipe_that_cannot_be(tiny: Tiny, runtime: str, match: dict[str, Any]) -> None:
    values = tiny.recipe
    values["teacher"] |= {"runtime": runtime}
    values["matches"] = [{**match, "loss": "kl" if "tap" in match else "mse"}]
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(tiny.write(values)).check()
    assert [one.where for one in caught.value.problems] == ["teacher.runtime"]
