"""Narrower students: what they compute, which heads, units and dimensions they keep, and that they load plainly."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny_readers
import torch
import transformers as hf
from second_proofs import but_few
from tiny_teachers import make, outputs
from width_lab import FAMILIES, WIDTHS, kept_of, labelled, masked

from textkd.models.students import repair_positions, shrink
from textkd.models.students.importance import measure
from textkd.models.students.narrow import choose, narrow
from textkd.models.students.widths import Sizes, have

CASES = [(kind, width) for kind in FAMILIES for width in WIDTHS]


@pytest.mark.parametrize(("kind", "width"), but_few(CASES, ("bert", "heads"), ("bert", "hidden"), ("vit", "hidden")))
def test_what_is_left_computes_what_the_teacher_does_with_the_rest_masked(kind: str, width: str) -> None:
    teacher = make(kind, **({"embedding_size": 12} if kind == "electra" else {}))
    kept = kept_of(teacher, teacher, WIDTHS[width])
    student = narrow(teacher, {"": kept})
    expected = outputs(masked(teacher, {"": kept}))
    assert torch.allclose(outputs(student), expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(expected, outputs(teacher), atol=1e-3)
    assert have(student.config) == kept.sizes


@pytest.mark.long
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_narrower_student_loads_plainly(kind: str, tmp_path: Any) -> None:
    student = shrink(make(kind), layers=[2, 4], hidden=24, ffn=0.5)
    student.save_pretrained(tmp_path)
    reloaded, info = type(student).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert torch.allclose(outputs(reloaded), outputs(student), atol=1e-5)
    assert reloaded.config.id2label == {0: "bad", 1: "so-so", 2: "good"}


SIDES = {
    "encoder": {"encoder_heads": 1, "encoder_ffn": 12},
    "decoder": {"decoder_hidden": 12, "decoder_ffn": 0.5},
    "both": {"encoder_hidden": 12, "decoder_heads": 1},
    "units": {"encoder_ffn": 12, "decoder_ffn": 8},
}
KINDS = ("equal widths", "projection", "cross width", "untied")
READERS = [*((kind, "both") for kind in KINDS), *(("untied", which) for which in SIDES if which != "both")]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "which"), READERS)
def test_sides_of_a_reader(kind: str, which: str) -> None:
    teacher, asked = tiny_readers.reader(kind), SIDES[which]
    sides = [side for side in ("encoder", "decoder") if any(word.startswith(side) for word in asked)]
    kept = {side: kept_of(teacher, getattr(teacher, side), asked, side) for side in sides}
    student = shrink(teacher, **asked)
    assert torch.equal(tiny_readers.logits(student), tiny_readers.logits(narrow(teacher, kept)))
    expected = tiny_readers.logits(masked(teacher, kept))
    assert torch.allclose(tiny_readers.logits(student), expected, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(expected, tiny_readers.logits(teacher), atol=1e-3)
    tied = student.get_output_embeddings().weight is student.decoder.get_input_embeddings().weight
    assert tied == (kind != "untied")


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_narrower_reader_loads_plainly(kind: str, tmp_path: Any) -> None:
    student = shrink(tiny_readers.reader(kind), encoder_layers=2, **SIDES["both"])
    student.save_pretrained(tmp_path)
    reloaded, info = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    repair_positions(reloaded)
    assert torch.allclose(tiny_readers.logits(reloaded), tiny_readers.logits(student), atol=1e-5)
    if kind == "projection":
        assert tiny_readers.generated(reloaded) == tiny_readers.generated(student)


def test_waves_stay_whole_beside_fewer_units() -> None:
    student = shrink(tiny_readers.reader("sinusoidal"), decoder_ffn=8)
    assert tiny_readers.logits(student).isfinite().all()


@pytest.mark.parametrize("kind", but_few(FAMILIES, "bert"))
def test_all_widths_compute_exactly_what_the_teacher_computes(kind: str) -> None:
    teacher = make(kind)
    whole = {"heads": 2, "ffn": 48, "hidden": 32}
    kept = kept_of(teacher, teacher, whole)
    assert torch.equal(outputs(narrow(teacher, {"": kept})), outputs(teacher))
    assert torch.equal(
        outputs(shrink(teacher, ffn=1.0, **{k: v for k, v in whole.items() if k != "ffn"})), outputs(teacher)
    )


def test_depth_and_width_together_leave_the_teacher_and_the_random_state_alone() -> None:
    teacher = make("bert", num_hidden_layers=3).train()
    asked = {"layers": [1, 3], "heads": 1, "ffn": 24, "by": "fisher", "rows": 2, "examples": [labelled(teacher)]}
    before, random = copy.deepcopy(teacher.state_dict()), torch.get_rng_state()
    student, again = shrink(teacher, **asked), shrink(teacher, **asked)
    assert torch.equal(torch.get_rng_state(), random)
    assert teacher.training
    assert all(module.training for module in teacher.modules())
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.state_dict().items())
    assert all(p.grad is None and not p._backward_hooks for p in teacher.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in teacher.modules())
    assert all(torch.equal(w, again.state_dict()[name]) for name, w in student.state_dict().items())
    kept = choose(measure(teacher.eval(), {"": teacher}, "fisher", [labelled(teacher)])[""], Sizes(1, 24, 16), [0, 2])
    rows = teacher.bert.encoder.layer[2].intermediate.dense.weight[kept.ffn[1]][:, kept.hidden]
    assert torch.equal(student.bert.encoder.layer[1].intermediate.dense.weight, rows)
    assert {p.requires_grad for p in student.parameters()} == {True}


def test_words_stay_tied_and_embeddings_as_wide_as_the_stream_follow_it() -> None:
    teacher = make("electra", hf.AutoModelForMaskedLM, embedding_size=32)
    student = shrink(teacher, heads=1, ffn=24)
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    assert (student.config.embedding_size, student.electra.embeddings.word_embeddings.weight.shape[1]) == (16, 16)
    assert outputs(student).isfinite().all()


# -- importance ------------------------------------------------------------------------------------------------------
