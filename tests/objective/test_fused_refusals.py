"""What `fused: true` cannot be, told before the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from fused_lab import BATCH, LABELS, SMALL, batch_for, both, made, step
from ocr_lab import Reading, make_reader, save_teacher
from second_proofs import but_few
from torch import nn

from textkd import Match, TextkdError
from textkd.config import build
from textkd.models.taps import Capture
from textkd.training.wiring import wire


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    save_teacher(folder / "teacher")
    return folder


LABELLED = {"tap": "labels", "fused": True}
WRONG: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "hidden": ([{"tap": "encoder.hidden", "fused": True}], ["a tap of hidden", "matches[0].fused", "fused: false"]),
    "loss": (
        [{"tap": "logits", "loss": "mse", "fused": True}, LABELLED],
        ['"mse" needs the logits whole', "or one of"],
    ),
    "chunk": ([{"tap": "logits", "options": {"chunk": 0}, "fused": True}, LABELLED], ["options.chunk: 0", "leave"]),
    "projection": ([{"tap": "logits", "projection": "linear", "fused": True}, LABELLED], ["a projection takes"]),
    "beside": ([{"tap": "logits", "fused": True}, {"tap": "labels"}], ["labels/cross_entropy need the same logits"]),
    "gradient": ([LABELLED, {"tap": "decoder.gradient:1"}], ["decoder.gradient:1<-1/mse need the same logits"]),
    "module": (
        [LABELLED, {"tap": "module:decoder.output_projection@input"}],
        ["taps the layer that makes the logits", "tap head_input"],
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("case", but_few(WRONG, "beside", "loss", "gradient"))
def test_what_needs_whole_logits_is_refused(case: str, shared: Path) -> None:
    matches, said = WRONG[case]
    values = Reading(shared, shared / "teacher").recipe | {"matches": matches}
    if case == "gradient":
        values["student"] = {"shrink": {"encoder_layers": 2}}
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(Reading(shared).write(values, f"{case}.yaml")).check()
    assert all(words in str(caught.value) for words in said), str(caught.value)
    assert not (shared / "run").exists()


@pytest.mark.long
def test_a_cache_that_keeps_logits_sparsely_is_refused_and_a_plain_one_is_fine(shared: Path) -> None:
    values = Reading(shared, shared / "teacher").recipe | {"matches": [{"tap": "logits", "fused": True}, LABELLED]}
    values["task"]["augment"] = False
    values["teacher"]["cache"] = {"logits": {"top_k": 4}}
    with pytest.raises(TextkdError, match=r"matches\[0\].fused: asked: fused: true\n  found: teacher.cache.logits"):
        build.from_recipe(Reading(shared).write(values, "sparse.yaml")).check()
    values["teacher"]["cache"] = True
    build.from_recipe(Reading(shared).write(values, "cached.yaml")).check()


class Scaled(hf.VisionEncoderDecoderModel):
    """A reader whose logits are multiplied after the head."""

    def forward(self, pixel_values: Any = None, decoder_input_ids: Any = None, **rest: Any) -> Any:
        out = super().forward(pixel_values, decoder_input_ids, **rest)
        out.logits = out.logits * 0.5
        return out


def capped() -> Any:
    """Logits of an untrained model that its cap at 30 changes by a millionth."""
    config = hf.Gemma2Config(**SMALL, head_dim=8, num_key_value_heads=2, final_logit_softcapping=30.0)
    return hf.Gemma2ForCausalLM(config).eval()


def test_heads_whose_output_is_not_the_logits_are_refused_on_each_side() -> None:
    plain, batch = make_reader(), batch_for("reader")
    scaled = make_reader()
    scaled.__class__ = Scaled
    for student, teacher, side in ((scaled, plain, "student"), (plain, scaled, "teacher")):
        said = rf"{side}: asked: logits/kl.* fused, of this {side}\n.*caps or cuts"
        with pytest.raises(TextkdError, match=said) as caught:
            wire(student, teacher, both(True), batch)
        assert len(caught.value.problems) == 1
        wire(student, teacher, both(False), batch).close()
    with pytest.raises(TextkdError, match="caps or cuts"):
        wire(capped(), None, [Match("labels", fused=True)], BATCH)
    assert not [hook for module in scaled.modules() for hook in module._forward_pre_hooks.values()]


def test_a_head_that_is_not_linear_is_refused() -> None:
    model = made("bert")
    model.cls.predictions.decoder = nn.Sequential(model.cls.predictions.decoder)
    classifier = hf.BertForSequenceClassification(hf.BertConfig(**SMALL))
    for one, batch in ((model, BATCH), (classifier, {**BATCH, "labels": LABELS[:, 0] * 0})):
        with pytest.raises(TextkdError, match=r"student: asked: labels/.*\n.*no linear layer that makes logits"):
            wire(one, None, [Match("labels", fused=True)], batch)
        with pytest.raises(TextkdError, match='tap "head_input"'):
            Capture(one, ["head_input"])


def test_a_head_that_is_cut_over_processes_is_told() -> None:
    student = made("bert", 1)
    wiring = wire(student, made("bert"), both(True), BATCH)
    head = student.get_output_embeddings()
    student.cls.predictions.decoder.forward = lambda hidden: hidden.new_zeros(*hidden.shape[:-1], 50)
    head.weight = nn.Parameter(torch.zeros(0))  # as ZeRO-3 leaves it between forwards
    with pytest.raises(TextkdError, match="cut over processes"):
        step(wiring, student, BATCH)
    wiring.close()
