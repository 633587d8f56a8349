"""BiLSTM and TextCNN students: padding says nothing, they learn as a plain loop does, what they cannot is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cohort_lab
import numpy as np
import onnx
import pytest
import torch
import transformers as hf
from cohort_lab import CLIP, EPSILON, RATE, batches, net, parts, state
from references import bilstm as reference
from second_proofs import but_few
from test_door import plain_refuses
from tiny_lab import make_teacher, make_tokenizer
from tiny_readers import reader
from torch import Tensor

from textkd import Match, deploy
from textkd.deploy.as_module import Exported
from textkd.deploy.export import export
from textkd.deploy.to_onnx import export_onnx
from textkd.errors import TextkdError
from textkd.models.loading import load_model
from textkd.models.onnx.lstm import lstms_of_onnx
from textkd.models.own.heads import moved, moved_back, to_front
from textkd.models.students import build
from textkd.models.taps import Capture, anatomy, list_taps
from textkd.models.transforms.quantised import problems
from textkd.training.trainer import DistilTrainer

BILSTM: dict[str, Any] = {"kind": "bilstm", "hidden": 6, "dense": 10}
TEXTCNN: dict[str, Any] = {"kind": "textcnn", "filters": 5, "widths": [2, 7], "dense": 10}
KINDS = {"bilstm": BILSTM, "two layers": {**BILSTM, "layers": 2}, "textcnn": TEXTCNN}
HEADS = {"texts": hf.AutoModelForSequenceClassification, "tokens": hf.AutoModelForTokenClassification}


def made(kind: str, of: str = "texts", **changes: Any) -> Any:
    teacher = make_teacher()
    if of == "tokens":
        teacher = hf.BertForTokenClassification(teacher.config)
    torch.manual_seed(3)
    student = build({"recurrent": {**KINDS[kind], **changes}}, teacher, None)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return student


def answer(model: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids, attention_mask=mask).logits
    return logits


# -- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("left", "right"), [(0, 4), (4, 0), (2, 3)])
def test_padding_wherever_it_stands_changes_nothing(kind: str, left: int, right: int) -> None:
    model, ids = made(kind), torch.randint(5, 21, (3, 5), generator=torch.Generator().manual_seed(0))
    wide = torch.randint(0, 21, (3, left + 5 + right), generator=torch.Generator().manual_seed(1))
    wide[:, left : left + 5] = ids
    mask = torch.zeros_like(wide)
    mask[:, left : left + 5] = 1
    assert torch.allclose(answer(model, wide, mask), answer(model, ids), atol=1e-6)
    assert not torch.allclose(answer(model, wide), answer(model, ids), atol=1e-3)  # without a mask it is text
    one_by_one = torch.cat([answer(model, row[None], torch.ones(1, 5)) for row in ids])
    assert torch.allclose(answer(model, ids), one_by_one, atol=1e-6)


@pytest.mark.parametrize("left", [0, 3])
def test_each_token_is_answered_in_its_place(left: int) -> None:
    model, ids = made("two layers", "tokens"), torch.randint(5, 21, (2, 5), generator=torch.Generator().manual_seed(0))
    pad, some = torch.zeros(2, left, dtype=torch.long), torch.zeros(2, 4, dtype=torch.long)
    mask = torch.cat([pad, torch.ones_like(ids), some], 1)
    wide = answer(model, torch.cat([pad, ids, some], 1), mask)
    assert torch.allclose(wide[:, left : left + 5], answer(model, ids), atol=1e-6)


def test_places_are_undone() -> None:
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]).bool()
    values = torch.randn(3, 5, 2)
    for places in to_front(mask):
        assert torch.equal(moved_back(moved(values, places), places), values)
    forwards, backwards = (moved(values, places) for places in to_front(mask))
    assert torch.equal(forwards[0, :3], values[0, [1, 2, 4]])
    assert torch.equal(backwards[0, :3], values[0, [4, 2, 1]])
    for kind in KINDS:  # a row of nothing but padding has an answer, too
        assert answer(made(kind), torch.ones(1, 3, dtype=torch.long), torch.zeros(1, 3)).isfinite().all()


# -- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", but_few([1, 2], 2))
def test_it_learns_as_a_plain_loop_does(layers: int, tmp_path: Path) -> None:
    teacher, student = net(1), made("bilstm", layers=layers, dropout=0.0)
    plain = reference.Bilstm(student.get_input_embeddings().weight.detach(), 6, 10, 2, layers)
    ours = {"dense": student.head.dense, "out": student.head.out}
    for name, linear in ours.items():
        getattr(plain, name).load_state_dict(linear.state_dict())
    for number, layer in enumerate(student.bilstm.layers):
        for side, ending in ((layer.forwards, ""), (layer.backwards, "_reverse")):
            for name, weight in side.named_parameters():
                getattr(plain.lstm, name.replace("_l0", f"_l{number}{ending}")).data.copy_(weight)
    matches = [Match("labels", weight=0.3), Match("logits", loss="mse", weight=0.7)]
    done = cohort_lab.train(tmp_path, {"student": student}, matches, {"teacher": teacher})
    told = reference.train(plain, teacher, batches(), 0.3, RATE, EPSILON, CLIP)
    assert [row["loss"] for row in parts(done)] == pytest.approx(told, abs=1e-5)
    assert len(told) == 5
    assert torch.allclose(student.get_input_embeddings().weight, plain.words.weight, atol=1e-5)
    for number, layer in enumerate(student.bilstm.layers):
        for side, ending in ((layer.forwards, ""), (layer.backwards, "_reverse")):
            for name, weight in side.named_parameters():
                other = getattr(plain.lstm, name.replace("_l0", f"_l{number}{ending}"))
                assert torch.allclose(weight, other, atol=1e-5), name
    for name, linear in ours.items():
        assert torch.allclose(linear.weight, getattr(plain, name).weight, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["bilstm", "textcnn"])
def test_a_killed_training_goes_on_as_if_unbroken(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = DistilTrainer.training_step

    def cut(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    def run(folder: Path) -> tuple[Any, dict[str, Tensor]]:
        student = made(kind)
        matches = [Match("logits", loss="mse"), Match("pooled", projection="linear")]
        done = cohort_lab.train(folder, {"student": student}, matches, {"teacher": net(1)}, save_strategy="steps",
                                save_steps=1, save_total_limit=1)  # fmt: skip
        return parts(done), state(student)

    whole = run(tmp_path / "whole")
    monkeypatch.setattr(DistilTrainer, "training_step", cut)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    monkeypatch.undo()
    resumed = run(tmp_path / "cut")
    assert resumed[0] == whole[0]
    assert all(torch.equal(value, whole[1][name]) for name, value in resumed[1].items())


# -- how it is made, saved and read ----------------------------------------------------------------------------------


def test_embeddings_are_the_teachers_or_new() -> None:
    teacher = make_teacher()
    student = build({"recurrent": {"kind": "bilstm"}}, teacher, None)
    assert torch.equal(student.get_input_embeddings().weight, teacher.get_input_embeddings().weight)
    config = student.config
    assert (config.hidden_size, config.num_hidden_layers, config.dense_size, config.id2label) == (
        300, 1, 200, teacher.config.id2label)  # fmt: skip
    new = build({"recurrent": {"kind": "textcnn", "embedding": 9}}, teacher, None)
    assert new.get_input_embeddings().weight.shape == (21, 9)
    assert (new.config.widths, new.config.hidden_size) == ([3, 4, 5], 300)


@pytest.mark.parametrize(("kind", "of"), but_few([("two layers", "texts"), ("bilstm", "tokens"), ("textcnn", "texts")],
                                                 ("bilstm", "tokens")))  # fmt: skip
def test_what_was_saved_is_loaded_to_the_bit(kind: str, of: str, tmp_path: Path) -> None:
    model, ids = made(kind, of), torch.randint(5, 21, (2, 6))
    model.save_pretrained(tmp_path / "model")
    again = load_model(tmp_path / "model", HEADS[of])
    assert type(again) is type(model)
    assert torch.equal(answer(again, ids), answer(model, ids))
    make_tokenizer().save_pretrained(tmp_path / "model")
    again = load_model(export(tmp_path / "model", tmp_path / "out"), HEADS[of])
    assert torch.equal(answer(again, ids), answer(model, ids))


@pytest.mark.slow
def test_plain_transformers_refuses_it(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    made("bilstm").save_pretrained(tmp_path)
    plain_refuses(tmp_path)


def test_taps_that_are_there_and_those_that_are_not() -> None:
    model, ids = made("two layers"), torch.randint(5, 21, (2, 6))
    assert [row.address for row in list_taps(model)] == [
        "labels", "logits", "embeddings", "hidden:0", "hidden:1", "hidden:2", "pooled"]  # fmt: skip
    assert [row.address for row in list_taps(made("textcnn"))] == ["labels", "logits", "embeddings", "pooled"]
    taps = Capture(model, ["hidden:2", "pooled"]).run(model, input_ids=ids, attention_mask=torch.ones_like(ids))["taps"]
    ends = torch.cat([taps["hidden:2"][:, -1, :6], taps["hidden:2"][:, 0, 6:]], -1)
    assert torch.equal(taps["pooled"], ends)
    for kind, tap, said in (("bilstm", "attention:1", "a BiLSTM has no attention"), ("bilstm", "ffn", "has no ffn"),
                            ("textcnn", "hidden:1", "a TextCNN has no hidden")):  # fmt: skip
        with pytest.raises(TextkdError, match=said):
            anatomy(made(kind)).resolve(tap)


REFUSED: list[tuple[Any, list[str]]] = [
    ("bilstm", ["not a block of keys"]),
    ({}, ["recurrent.kind:", "does not say which kind"]),
    ({"kind": "lstm"}, ["nearest: bilstm"]),
    ({"kind": ["bilstm"]}, ["no such kind"]),
    ({"kind": "bilstm", "hidden": 0}, ["recurrent.hidden:", "from 1 to 65,536", "hidden: 150"]),
    ({"kind": "bilstm", "hidden": True, "layers": 99, "dense": 1.5}, ["3 problems"]),
    ({"kind": "bilstm", "hiden": 5}, ["nearest: hidden"]),
    ({"kind": "bilstm", "filters": 5}, ["of a textcnn", "give hidden and layers"]),
    ({"kind": "textcnn", "hidden": 5}, ["of a bilstm", "give filters and widths"]),
    ({"kind": "textcnn", "widths": []}, ["recurrent.widths:", "widths: [3, 4, 5]"]),
    ({"kind": "textcnn", "widths": [3, 0]}, ["recurrent.widths:"]),
    ({"kind": "textcnn", "widths": 3}, ["recurrent.widths:"]),
    ({"kind": "bilstm", "embedding": "teachr"}, ["neither teacher nor a number"]),
    ({"kind": "bilstm", "dropout": 1}, ["not a rate", "dropout: 0.1"]),
]


@pytest.mark.parametrize(("block", "words"), REFUSED)
def test_wrong_blocks_are_told(block: Any, words: list[str]) -> None:
    with pytest.raises(TextkdError) as told:
        build({"recurrent": block}, make_teacher(), None)
    assert all(word in str(told.value) for word in words), str(told.value)


def test_what_it_cannot_be_made_of() -> None:
    teacher = make_teacher()
    cases = [
        (reader("equal widths"), BILSTM, "reads lines in images"),
        (hf.BertForTokenClassification(teacher.config), TEXTCNN, "fix: kind: bilstm"),
        (hf.BertForMaskedLM(teacher.config), BILSTM, "classifies texts and tokens"),
    ]
    for model, block, said in cases:
        with pytest.raises(TextkdError, match=said):
            build({"recurrent": block}, model, None)
    for block in (BILSTM, TEXTCNN):
        with pytest.raises(TextkdError, match="none of transformers' models"):
            build({"config": {"num_hidden_layers": 1}}, build({"recurrent": block}, teacher, None), None)
    for beside in ({"shrink": {"layers": [1]}}, {"grow": {"wider": {"ffn": 99}}}):
        with pytest.raises(TextkdError, match="recurrent"):
            build({"recurrent": BILSTM, **beside}, teacher, None)


def test_no_training_computes_on_the_grid_of_an_lstm() -> None:
    assert "onnxruntime's own" in problems(made("bilstm"))[0].found
    assert not problems(made("textcnn"))


# -- exported --------------------------------------------------------------------------------------------------------


def test_other_lstms_are_not_exported() -> None:
    for other in (torch.nn.LSTM(2, 3), torch.nn.LSTM(2, 3, batch_first=True, bidirectional=True)):
        with pytest.raises(TextkdError, match="one layer and one direction"), lstms_of_onnx(torch.nn.Sequential(other)):
            pass


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "of"), [("two layers", "texts"), ("bilstm", "tokens"), ("textcnn", "texts")])
def test_as_onnx_it_answers_the_same(kind: str, of: str, tmp_path: Path) -> None:
    model = made(kind, of)
    model.save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    texts = ["good film", "a very dull plot and a bad actor", "fine"]
    words = make_tokenizer()(texts, padding=True, return_tensors="pt")
    expected = answer(model, words["input_ids"], words["attention_mask"])
    for int8 in ("", "dynamic"):
        out = export_onnx(tmp_path / "model", tmp_path / f"out{int8}", int8=int8)
        assert all((tmp_path / f"out{int8}" / name).is_file() for name in ("model.onnx", "tokenizer.json"))
        Exported(out).refuse_other(HEADS[of])  # as `textkd eval` has it
        with pytest.raises(TextkdError, match=f"it holds a {type(model).__name__}"):
            Exported(out).refuse_other(HEADS["texts" if of == "tokens" else "tokens"])
        runtime = deploy.load(out, threads=1)
        got = runtime.word_logits([text.split() for text in texts]) if of == "tokens" else runtime.logits(texts)
        for row, one in enumerate(got):
            real = expected[row][1 : 1 + len(one)] if of == "tokens" else expected[row]  # behind [CLS]
            assert np.abs(np.asarray(one) - real.numpy()).max() < (0.1 if int8 else 1e-5)
    whole = [node.op_type for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node]
    small = [node.op_type for node in onnx.load(tmp_path / "outdynamic" / "model.onnx").graph.node]
    count = {"two layers": 4, "bilstm": 2, "textcnn": 0}[kind]
    assert (whole.count("LSTM"), small.count("LSTM"), small.count("DynamicQuantizeLSTM")) == (count, 0, count)
