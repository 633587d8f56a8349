"""Taps of a compiled model: the same values and gradients, in graphs that hold all of its blocks."""

from __future__ import annotations

import pytest
import torch
from drive import weights
from tiny_lab import Tiny, make_teacher
from torch._dynamo.utils import counters

from textkd import TextkdError
from textkd.config import build
from textkd.models.taps import Capture

IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 9, 3, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long()}
TAPS = ["logits", "hidden:1", "attention:2", "query:1", "module:bert.encoder.layer.0.output@input"]


@pytest.mark.slow
def test_the_same_taps_and_gradients_from_one_graph() -> None:
    model = make_teacher(layers=2)
    capture = Capture(model, TAPS)
    plain = capture.run(model, **BATCH)["taps"]
    sum(tap.square().sum() for tap in plain.values()).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    torch._dynamo.reset()
    counters.clear()
    capture.for_compiled()
    compiled = torch.compile(model, backend="eager")
    for _ in range(3):
        model.zero_grad()
        taps = capture.run(compiled, **BATCH)["taps"]
        sum(tap.square().sum() for tap in taps.values()).backward()
    assert list(taps) == list(plain)
    for name in TAPS:
        torch.testing.assert_close(taps[name], plain[name])
    for name, p in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(p.grad, expected[name])
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


def test_gradient_taps_of_a_compiled_student_are_refused(tiny: Tiny) -> None:
    values = tiny.recipe
    values["training"]["torch_compile"] = True
    values["matches"].append({"tap": "gradient:1"})
    with pytest.raises(TextkdError, match="gradient:1 of a compiled model"):
        build.from_recipe(tiny.write(values)).check()


@pytest.mark.slow
def test_a_compiled_training_is_the_same_training(tiny: Tiny) -> None:
    said = {}
    for compiled in (False, True):
        values = tiny.recipe
        values["control"] = False
        values["training"] |= {
            "max_steps": 6, "save_strategy": "steps", "save_steps": 3, "eval_strategy": "steps", "eval_steps": 3,
            "dropout": 0, "output_dir": str(tiny.folder / f"run-{compiled}"),
        }  # fmt: skip
        if compiled:
            values["training"] |= {"torch_compile": True, "torch_compile_backend": "aot_eager"}
        said[compiled] = weights(build.from_recipe(tiny.write(values)).run().student)
    assert list(said[True]) == list(said[False])
    for name, weight in said[False].items():
        torch.testing.assert_close(said[True][name], weight, rtol=1e-4, atol=1e-5)
