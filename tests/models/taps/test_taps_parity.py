"""Taps against what transformers itself returns, for every architecture."""

import pytest
import torch
from torch.testing import assert_close

from textkd.models.taps import Capture, anatomy, list_taps, mask_for
from textkd.models.taps.address import Address

pytestmark = pytest.mark.compat


def run(model, addresses, batch, **kwargs):
    capture = Capture(model, addresses, **kwargs)
    try:
        with torch.no_grad():
            return capture.run(model, **batch)
    finally:
        capture.remove()


def block_kinds(kind, count):
    return [f"{kind}:{k}" for k in range(1, count + 1)]


def test_hidden_taps_are_the_hidden_states(architecture, tiny, inputs):
    model = tiny(architecture)
    batch = inputs(model)
    with torch.no_grad():
        expected = model(**batch, output_hidden_states=True).hidden_states
    taps = run(model, [f"hidden:{k}" for k in range(4)], batch)["taps"]
    assert len(expected) == len(taps) == 4
    # ModernBERT replaces its last entry by the state after the final norm; a tap is the block's own output
    last = 3 if architecture == "modernbert" else 4
    for k in range(last):
        assert_close(taps[f"hidden:{k}"], expected[k], rtol=0, atol=1e-5)
    if architecture == "modernbert":
        assert_close(model.base_model.final_norm(taps["hidden:3"]), expected[3], rtol=0, atol=1e-5)


def test_attention_taps_are_the_eager_maps(architecture, tiny, on_eager, inputs):
    model = tiny(architecture)
    batch = inputs(model)
    with torch.no_grad():
        expected = on_eager(model)(**batch, output_attentions=True).attentions
    taps = run(model, block_kinds("attention", 3), batch)["taps"]
    assert len(expected) == 3
    for k in range(3):
        assert taps[f"attention:{k + 1}"].shape == expected[k].shape
        assert_close(taps[f"attention:{k + 1}"], expected[k], rtol=0, atol=1e-5)


def test_maps_of_a_model_loaded_eager_are_the_same(architecture, tiny, on_eager, inputs):
    model = tiny(architecture)
    batch = inputs(model)
    addresses = block_kinds("attention", 3) + block_kinds("scores", 3)
    taps, others = run(model, addresses, batch)["taps"], run(on_eager(model), addresses, batch)["taps"]
    for key in addresses:
        assert_close(taps[key], others[key], rtol=0, atol=1e-5)


def test_masked_softmax_of_scores_is_attention(architecture, tiny, inputs):
    model = tiny(architecture)
    batch = inputs(model)
    taps = run(model, ["scores:1", "attention:1"], batch)["taps"]
    scores = taps["scores:1"]
    assert scores.std() > 0.1
    if "attention_mask" in batch:
        # block 1 of ModernBERT attends globally, so padding is the only mask
        scores = scores.masked_fill(batch["attention_mask"][:, None, None, :] == 0, float("-inf"))
    assert_close(scores.softmax(-1), taps["attention:1"], rtol=0, atol=1e-5)


PROJECTIONS = {
    "bert": ("query", "key", "value"),
    "distilbert": ("q_lin", "k_lin", "v_lin"),
    "vit": ("q_proj", "k_proj", "v_proj"),
}


def test_queries_keys_values_are_the_projections_outputs(architecture, tiny, inputs):
    model = tiny(architecture)
    batch = inputs(model)
    attention = anatomy(model).part("query", 2)
    path = next(name for name, module in model.named_modules() if module is attention)
    family = {"roberta": "bert", "xlm-roberta": "bert", "electra": "bert", "albert": "bert", "deit": "vit"}.get(
        architecture, architecture
    )
    kinds = ("query", "key", "value")
    if family == "modernbert":
        taps = run(model, [f"{kind}:2" for kind in kinds] + [f"module:{path}.Wqkv"], batch)["taps"]
        rows, length = batch["input_ids"].shape
        parts = taps[f"module:{path}.Wqkv"].view(rows, length, 3, 2, 8).permute(2, 0, 3, 1, 4)
        assert_close(taps["value:2"], parts[2], rtol=0, atol=1e-5)
        # rotary embedding turns queries and keys, so it keeps their length
        assert_close(taps["query:2"].norm(dim=-1), parts[0].norm(dim=-1), rtol=0, atol=1e-5)
        assert_close(taps["key:2"].norm(dim=-1), parts[1].norm(dim=-1), rtol=0, atol=1e-5)
        return
    if architecture == "albert":
        # its one attention module runs three times; the input of the second run is the output of block 1
        taps = run(model, [f"{kind}:2" for kind in kinds] + ["hidden:1"], batch)["taps"]
        raw = [getattr(attention, name)(taps["hidden:1"]) for name in PROJECTIONS[family]]
    else:
        modules = [f"module:{path}.{name}" for name in PROJECTIONS[family]]
        taps = run(model, [f"{kind}:2" for kind in kinds] + modules, batch)["taps"]
        raw = [taps[name] for name in modules]
    for kind, expected in zip(kinds, raw, strict=True):
        rows, length, _ = expected.shape
        assert_close(taps[f"{kind}:2"], expected.view(rows, length, 2, 8).transpose(1, 2), rtol=0, atol=1e-5)


def test_heads_multiply_to_scores(architecture, tiny, inputs):
    model = tiny(architecture)
    taps = run(model, ["query:3", "key:3", "scores:3"], inputs(model))["taps"]
    assert_close(taps["query:3"] @ taps["key:3"].mT * 8**-0.5, taps["scores:3"], rtol=0, atol=1e-5)


def test_padded_outputs_stay_those_of_the_plain_model(architecture, tiny, inputs):
    """The mask trap: an attention function without a mask of its own changes padded outputs, silently."""
    model = tiny(architecture)
    batch = inputs(model)
    with torch.no_grad():
        expected = model(**batch).logits
        unmasked = model(**{k: torch.ones_like(v) if k == "attention_mask" else v for k, v in batch.items()}).logits
    if "attention_mask" in batch:
        assert (expected - unmasked).abs().max() > 1e-3, "padding must matter for this test to see anything"
    for kinds in (("attention",), ("scores",), ("query",)):
        addresses = [a for kind in kinds for a in block_kinds(kind, 3)]
        assert_close(run(model, ["logits", *addresses], batch)["taps"]["logits"], expected, rtol=1e-5, atol=1e-5)


def test_rows_without_any_token_give_no_nan(text_architecture, tiny, on_eager, inputs):
    for model in (tiny(text_architecture), on_eager(tiny(text_architecture))):
        batch = inputs(model)
        batch["attention_mask"][1] = 0
        model.train()
        capture = Capture(model, ["logits", *block_kinds("attention", 3), "hidden:3"])
        taps = capture.run(model, **batch)["taps"]
        sum(tap.square().sum() for tap in taps.values()).backward()
        assert all(torch.isfinite(tap).all() for tap in taps.values() if tap.dim() == 4)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if text_architecture != "modernbert":  # its mean pooling divides by the number of tokens
            assert all(torch.isfinite(tap).all() for tap in taps.values())
            assert all(torch.isfinite(g).all() for g in gradients)
        capture.remove()


def test_rows_without_any_token_come_out_as_from_sdpa(text_architecture, tiny, inputs):
    model = tiny(text_architecture)
    batch = inputs(model)
    batch["attention_mask"][1] = 0
    expected = run(model, ["hidden:3"], batch)["taps"]["hidden:3"]
    tapped = run(model, ["hidden:3", *block_kinds("attention", 3)], batch)["taps"]
    assert_close(tapped["hidden:3"], expected, rtol=1e-5, atol=1e-5)
    assert tapped["attention:1"][1].abs().max() == 0


def test_ffn_is_the_pre_activation(architecture, tiny, inputs):
    model = tiny(architecture)
    batch = inputs(model)
    taps = run(model, [*block_kinds("ffn", 3), "hidden:3"], batch)["taps"]
    module = anatomy(model).part("ffn", 3)
    seen = []
    handle = module.register_forward_hook(lambda m, a, out: seen.append(out))
    with torch.no_grad():
        model(**batch)
    handle.remove()
    assert taps["ffn:3"].shape[-1] == 24
    assert_close(taps["ffn:3"], seen[-1][..., :24], rtol=0, atol=0)
    assert (taps["ffn:1"] - taps["ffn:3"]).abs().max() > 1e-3


def test_embeddings_and_first_input(architecture, tiny, inputs):
    model = tiny(architecture)
    taps = run(model, ["embeddings", "hidden:0"], inputs(model))["taps"]
    if architecture in ("albert", "electra"):
        assert taps["embeddings"].shape[-1] == 12
        name = "embeddings_project" if architecture == "electra" else "encoder.embedding_hidden_mapping_in"
        assert_close(model.base_model.get_submodule(name)(taps["embeddings"]), taps["hidden:0"])
    else:
        assert_close(taps["embeddings"], taps["hidden:0"], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "vit", "deit"])
def test_pooled_is_the_poolers_output(name, tiny, inputs):
    model = tiny(name, "bare")
    captured = run(model, ["pooled"], inputs(model))
    assert_close(captured["taps"]["pooled"], captured["outputs"]["pooler_output"], rtol=0, atol=0)


@pytest.mark.parametrize("head", ["tokens", "mlm", "bare"])
def test_other_heads_offer_the_same_blocks(text_architecture, head, tiny, inputs):
    model = tiny(text_architecture, head)
    batch = inputs(model)
    captured = run(model, ["hidden:-1", "attention:2"], batch)
    assert captured["taps"]["hidden:3"].shape == (3, 9, 16)
    assert captured["taps"]["attention:2"].shape == (3, 2, 9, 9)
    if head != "bare":
        logits = run(model, ["logits"], batch)["taps"]["logits"]
        assert_close(logits, captured["outputs"]["logits"], rtol=0, atol=1e-5)


def test_albert_counts_calls_afresh_in_every_forward(tiny, inputs):
    model = tiny("albert")
    batch = inputs(model)
    capture = Capture(model, ["hidden:1", "attention:3", "ffn:2"])
    with torch.no_grad():
        first, second = capture.run(model, **batch)["taps"], capture.run(model, **batch)["taps"]
    for key in first:
        assert torch.equal(first[key], second[key])


def test_every_listed_tap_can_be_read_and_has_the_listed_shape(architecture, tiny, inputs):
    model = tiny(architecture)
    batch = inputs(model)
    model.train()
    state = torch.get_rng_state()
    rows = list_taps(model)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert [row.address for row in rows] == anatomy(model).addresses()
    addresses = [row.address for row in rows if row.address != "labels"]
    assert f"attention:{anatomy(model).num_blocks}" in addresses
    taps = Capture(model.eval(), addresses).run(model, tap_labels=torch.tensor([0, 2, 1]), **batch)["taps"]
    for row in rows:
        if row.address == "labels":
            continue
        tap = taps[row.address]
        length = "9" if "input_ids" in batch else "T"
        assert row.shape.replace("B", "3").replace("T", length) == str(list(tap.shape)), row
        mask = mask_for(Address.parse(row.address), batch, tap)
        assert (mask is None) == ("input_ids" not in batch or row.address in ("logits", "pooled"))


def test_listing_tells_a_symbolic_length(tiny):
    shapes = {row.address: row.shape for row in list_taps(tiny("bert"))}
    assert shapes["hidden:2"] == "[B, T, 16]"
    assert shapes["attention:1"] == "[B, 2, T, T]"
    assert shapes["logits"] == "[B, 3]"
    assert shapes["pooled"] == "[B, 16]"
