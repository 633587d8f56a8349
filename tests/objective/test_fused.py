"""`fused: true`: logits of a large vocabulary are made inside the loss; nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from drive import TORCHRUN, differences, launch, losses, textkd, weights
from fused_lab import BATCH, IDS, MODELS, batch_for, both, made, step
from ocr_lab import Reading, data, make_reader, read_history, save_teacher
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from textkd import Match, TextkdError
from textkd.experiment.finetune import without_teacher
from textkd.losses import LinearLogits
from textkd.losses.logits import fused as fused_losses
from textkd.models.forward import inputs_of
from textkd.models.taps import Capture
from textkd.teachers import CacheOptions
from textkd.teachers.frozen import FrozenModel
from textkd.training.stages import Stage, run_stages
from textkd.training.wiring import Reading as HowRead
from textkd.training.wiring import wire


@pytest.mark.parametrize("name", MODELS)
def test_value_and_gradient_are_those_of_whole_logits(name: str) -> None:
    student, teacher, batch, results = made(name, 1), made(name), batch_for(name), []
    for fused in (False, True):
        wiring = wire(student, teacher, both(fused), batch)
        results.append(step(wiring, student, batch))
        wiring.close()
    (plain, expected, whole), (ours, gradients, out) = results
    logits = whole["logits"]
    assert out["logits"].shape == (logits.shape[0], 0, logits.shape[2])
    assert plain > 0.01
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=0)
    assert gradients.keys() == expected.keys()
    sizes = {key: gradient.abs().max().item() for key, gradient in expected.items()}
    noise = 1e-7 * max(sizes.values())  # the gradient of a key's bias is 0, but for rounding
    for key, gradient in expected.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=0, atol=1e-5 * sizes[key] + noise, msg=key)
    assert student(**inputs_of(student, batch)).logits.shape == logits.shape  # nothing stays on the model


class Largest(TorchDispatchMode):
    """The most elements of any tensor that operations make."""

    elements = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        found = [x.numel() for x in tree_leaves(out) if isinstance(x, Tensor) and x.untyped_storage().nbytes()]
        self.elements = max(self.elements, *found, 0)
        return out


def test_no_logits_of_all_positions_are_ever_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_losses, "ELEMENTS", 500 * 4)  # four rows at a time
    most = {}
    for fused in (False, True):
        student, teacher = made("bert", 1), made("bert")
        with torch.no_grad():  # a wider vocabulary than anything else
            for model in (student, teacher):
                model.resize_token_embeddings(500, mean_resizing=False)
        wiring = wire(student, teacher, both(fused), BATCH)
        with Largest() as seen:
            step(wiring, student, BATCH)
        wiring.close()
        most[fused] = seen.elements
    assert most[False] >= IDS.numel() * 500
    assert most[True] <= 16 * 512  # the gradient of the embedding of 512 places; that of the head has 500 rows


def test_the_loss_is_computed_inside_the_forward_and_in_autocasts_type() -> None:
    student, teacher, batch = made("bert", 1), made("bert"), BATCH
    found = {}
    for fused in (False, True):
        reading = {"teacher": HowRead(torch.bfloat16)}
        wiring = wire(student, teacher, both(fused), batch, reading=reading)
        taught = wiring.frozen.taps(batch)
        forward = student.forward
        student.forward = torch.autocast("cpu", torch.bfloat16)(forward)  # as Accelerate has it: hooks stay outside
        made_of = wiring.learners.forward(student, batch, wiring.objective.inside(taught, batch))
        student.forward = forward
        taps = {**made_of.taps, **taught}
        if fused:
            assert taps["student/head_input"].dtype == taps["teacher/head_input"].dtype == torch.bfloat16
            assert made_of.losses["logits/kl"].requires_grad
        _, found[fused] = wiring.objective(taps, batch, computed=made_of.losses)
        wiring.close()
    for name, value in found[False].items():
        torch.testing.assert_close(found[True][name], value, rtol=1e-5, atol=1e-6)


def test_a_head_keeps_its_logits_for_who_asks_and_sleeps_otherwise() -> None:
    model = made("reader")
    inputs = inputs_of(model, batch_for("reader"))
    whole = model(**inputs).logits
    capture = Capture(model, ["head_input", "logits"])
    taps = capture.run(model, **inputs)["taps"]
    assert torch.equal(taps["logits"], whole)
    assert torch.equal(model.decoder.output_projection(taps["head_input"]), whole)
    capture.remove()
    capture = Capture(model, ["head_input"], stop_early=True)
    with torch.no_grad():
        early = capture.run(model, **inputs)
    assert early["outputs"] == {}  # the head did not run
    with pytest.raises(TextkdError, match="leave labels out"):
        capture.run(model, **inputs, labels=batch_for("reader")["labels"])
    assert torch.equal(early["taps"]["head_input"], taps["head_input"])
    assert torch.equal(model(**inputs).logits, whole)


class Bigrams(nn.Module):
    """A head over embeddings, which autocast leaves in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(50, 8), nn.Linear(8, 50)

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.embedding(input_ids))}


def test_what_goes_into_a_head_has_the_type_that_it_computes_in() -> None:
    model = Bigrams()
    capture = Capture(model, ["head_input", "logits"])
    with torch.autocast("cpu", torch.bfloat16):
        taps = capture.run(model, input_ids=IDS)["taps"]
    made = LinearLogits(taps["head_input"], model.head.weight, model.head.bias, taps["head_input"].dtype).whole()
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, taps["logits"])


# -- trainings ----------------------------------------------------------------------------------------------------


def trained(work: Path, fused: bool, cache: CacheOptions | None = None, **training: Any) -> Any:
    """(history, weights) of a reader after five steps of SGD."""
    student = make_reader(seed=3, decoder={"decoder_layers": 1})
    arguments = {
        "num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 0.01, "logging_steps": 1,
        "optim": "sgd", **training,
    }  # fmt: skip
    models, read = {"student": student}, {"teacher": FrozenModel(make_reader(), cache)}
    done = run_stages(work, models, read, [Stage(both(fused))], data(), arguments, 1, "student")
    return {key: value for key, value in read_history(done).items() if "eval" not in key[1]}, student.state_dict()


@pytest.mark.long
def test_a_training_and_one_over_a_cache_are_the_same(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", False)
    kept = CacheOptions(precision="float32", folder=str(tmp_path / "cache"))
    for name, cache in (("live", None), ("cached", kept)):
        ours = trained(tmp_path / name, True, cache)
        assert differences(plain[0], ours[0]) < 1e-5
        assert differences(plain[1], ours[1]) < 1e-6
    assert plain[0][1, "logits/kl"] > 0.1


@pytest.mark.long
def test_labels_alone_keep_no_logits_either_beside_a_loss_of_the_encoder(tmp_path: Path) -> None:
    """What the control of a fused run learns from."""
    ctc = Match("encoder.hidden:4", loss="ctc")
    given = [Match("logits", fused=True), Match("labels", fused=True), ctc]
    ours, plain = without_teacher(given, fused=True), without_teacher(given)
    assert [(match.tap, match.fused) for match in ours] == [("labels", True), ("encoder.hidden:4", False)]
    ends = []
    for name, matches in (("ours", ours), ("plain", plain)):
        student = make_reader(seed=3)
        arguments = {"max_steps": 2, "optim": "sgd", "per_device_train_batch_size": 8, "logging_steps": 1}
        done = run_stages(tmp_path / name, {"student": student}, {}, [Stage(matches)], data(), arguments, 1, name)
        ends.append({key: value for key, value in read_history(done).items() if "eval" not in key[1]})
    assert (1, "encoder.hidden:4/ctc") in ends[0]
    assert differences(*ends) < 1e-5


@pytest.mark.slow
def test_a_compiled_training_is_the_same(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", False)
    ours = trained(tmp_path / "ours", True, torch_compile=True, torch_compile_backend="aot_eager")
    assert differences(plain[0], ours[0]) < 1e-4
    assert differences(plain[1], ours[1]) < 1e-5


def reading(folder: Path, name: str, fused: bool, batch: int) -> dict[str, Any]:
    values = Reading(folder, folder / "teacher").recipe
    values |= {"matches": [{"tap": "logits", "fused": fused}, {"tap": "labels", "fused": fused}], "control": False}
    values["training"] |= {
        "num_train_epochs": 1, "per_device_train_batch_size": batch, "optim": "sgd", "learning_rate": 0.01,
        "output_dir": str(folder / name),
    }  # fmt: skip
    return values


@pytest.mark.slow
def test_two_processes_are_one_with_whole_logits(tmp_path: Path) -> None:
    save_teacher(tmp_path / "teacher")
    lab = Reading(tmp_path)
    one = textkd("run", lab.write(reading(tmp_path, "one", False, 8), "one.yaml"), folder=tmp_path)
    assert one.code == 0, one.said
    launch(TORCHRUN, lab.write(reading(tmp_path, "two", True, 4), "two.yaml"), tmp_path)
    ends = [{key: v for key, v in losses(tmp_path / name).items() if "eval" not in key[1]} for name in ("one", "two")]
    assert differences(*ends) < 1e-5
    assert differences(*(weights(tmp_path / name / "seed-1" / "student") for name in ("one", "two"))) < 1e-5
