"""Taps of both sides of an encoder-decoder against what transformers returns, or against sums done by hand."""

import pytest
import torch
from torch.testing import assert_close

from textkd.errors import TextkdError
from textkd.models.taps import Address, Capture, anatomy, list_taps, mask_for

INNER = ("attention", "scores", "query", "key", "value")
DECODER = [f"decoder.{cross}{kind}:{k}" for cross in ("", "cross_") for kind in INNER for k in (1, 2)]
DECODER += ["decoder.embeddings", *(f"decoder.hidden:{k}" for k in range(3)), "decoder.ffn:1", "decoder.ffn:2"]


def run(model, addresses, batch):
    capture = Capture(model, addresses)
    try:
        with torch.no_grad():
            return capture.run(model, **batch)["taps"]
    finally:
        capture.remove()


def returned(model, batch):
    """What the model itself returns, its encoder on eager attention (its decoder knows no other)."""
    model.encoder.set_attn_implementation("eager")
    with torch.no_grad():
        out = model(**batch, output_attentions=True, output_hidden_states=True)
    model.encoder.set_attn_implementation("sdpa")
    return out


def layer(model, block):
    return model.decoder.model.decoder.layers[block - 1]


def seen(model, modules, batch):
    """The first positional or `hidden_states` input of every module, by plain hooks of our own."""
    got = {}
    handles = [
        m.register_forward_pre_hook(
            lambda m, args, kwargs, name=name: got.update({name: (args or [kwargs["hidden_states"]])[0]}),
            with_kwargs=True,
        )
        for name, m in modules.items()
    ]
    with torch.no_grad():
        model(**batch)
    for handle in handles:
        handle.remove()
    return got


def heads(x):
    return torch.stack(x.chunk(2, dim=-1), dim=1)  # [B, T, 2d] -> [B, 2, T, d]


def test_hidden_states_of_both_sides(sided, line_batch):
    batch, names = line_batch(), [*(f"encoder.hidden:{k}" for k in range(4)), *DECODER[-6:-2], "encoder.hidden:-1"]
    out = returned(sided, batch)
    taps = run(sided, names, batch)
    for side, states in (("encoder", out.encoder_hidden_states), ("decoder", out.decoder_hidden_states)):
        assert len(states) == {"encoder": 4, "decoder": 3}[side]
        for k, state in enumerate(states):
            assert_close(taps[f"{side}.hidden:{k}"], state, rtol=0, atol=1e-5)
    assert torch.equal(taps["decoder.embeddings"], taps["decoder.hidden:0"])


def test_maps_of_both_sides_are_what_the_eager_model_returns(sided, line_batch):
    batch = line_batch()
    out = returned(sided, batch)
    kinds = {
        "encoder.attention": out.encoder_attentions,
        "decoder.attention": out.decoder_attentions,
        "decoder.cross_attention": out.cross_attentions,
    }
    taps = run(sided, [f"{kind}:{k}" for kind, maps in kinds.items() for k in range(1, len(maps) + 1)], batch)
    assert [len(maps) for maps in kinds.values()] == [3, 2, 2]
    for kind, maps in kinds.items():
        for k, expected in enumerate(maps, start=1):
            tap = taps[f"{kind}:{k}"]
            assert tap.shape == expected.shape
            assert tap.std() > 0.01
            assert_close(tap, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cross", ["", "cross_"])
def test_inside_the_decoders_attention(cross, sided, line_batch):
    """Queries, keys and values multiplied out from the inputs; scores from those; probabilities from scores."""
    batch, block = line_batch(), layer(sided, 2)
    attention = block.encoder_attn if cross else block.self_attn
    inputs = seen(sided, {"self": block.self_attn, "cross": block.encoder_attn}, batch)
    mine, memory = inputs["cross" if cross else "self"], returned(sided, batch).encoder_last_hidden_state
    if hasattr(sided, "enc_to_dec_proj"):
        memory = sided.enc_to_dec_proj(memory)
    source = memory if cross else mine
    taps = run(sided, [f"decoder.{cross}{kind}:2" for kind in INNER], batch)
    taps = {name.removeprefix(f"decoder.{cross}").removesuffix(":2"): tap for name, tap in taps.items()}
    for kind, x, linear in (("query", mine, attention.q_proj), ("key", source, attention.k_proj),
                            ("value", source, attention.v_proj)):  # fmt: skip
        assert_close(taps[kind], heads(x @ linear.weight.T + linear.bias), rtol=0, atol=1e-5)
    scores = torch.einsum("bhtd,bhsd->bhts", taps["query"], taps["key"]) / 12**0.5
    assert_close(taps["scores"], scores, rtol=0, atol=1e-5)
    if not cross:
        scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), float("-inf"))
        assert torch.isfinite(taps["scores"]).all(), "scores are without mask"
    assert_close(taps["attention"], scores.softmax(-1), rtol=0, atol=1e-5)
    assert taps["attention"].dtype == torch.float32


def test_ffn_is_the_pre_activation(sided, line_batch):
    batch, block = line_batch(), layer(sided, 2)
    x = seen(sided, {"x": block.fc1}, batch)["x"]
    assert_close(run(sided, ["decoder.ffn:2"], batch)["decoder.ffn:2"], x @ block.fc1.weight.T + block.fc1.bias)


def test_logits_labels_and_modules_have_no_side(sided, line_batch):
    batch = line_batch()
    paths = ["decoder.output_projection", "decoder.output_projection@input", "encoder.layernorm"]
    taps = run(
        sided, ["logits", "decoder.logits", "labels", "decoder.hidden:2", *(f"module:{p}" for p in paths)], batch
    )
    with torch.no_grad():
        out = sided(**batch)
    assert list(taps)[:3] == ["logits", "labels", "decoder.hidden:2"]
    assert torch.equal(taps["logits"], out.logits)
    assert torch.equal(taps["logits"], taps["module:decoder.output_projection"])
    assert torch.equal(taps["decoder.hidden:2"], taps["module:decoder.output_projection@input"])
    assert torch.equal(taps["module:encoder.layernorm"], out.encoder_last_hidden_state)
    assert torch.equal(taps["labels"], out.loss)


def test_the_decoder_alone_is_a_decoder_without_sides(sided, line_batch):
    batch, decoder = line_batch(), sided.decoder
    memory = returned(sided, batch).encoder_last_hidden_state
    if hasattr(sided, "enc_to_dec_proj"):
        memory = sided.enc_to_dec_proj(memory).detach()
    both = run(sided, DECODER, batch)
    alone = run(decoder, [name.removeprefix("decoder.") for name in DECODER],
                {"input_ids": batch["decoder_input_ids"], "encoder_hidden_states": memory})  # fmt: skip
    assert len(alone) == len(DECODER)
    for name, tap in both.items():
        assert_close(alone[name.removeprefix("decoder.")], tap, rtol=0, atol=1e-5)
    assert anatomy(decoder).size == "2x24"
    labels = {"labels": batch["labels"], "attention_mask": torch.ones_like(batch["labels"])}
    for name in ("attention:1", "hidden:2", "cross_scores:2"):
        resolved = anatomy(decoder).resolve(name)
        mask = mask_for(resolved, labels, alone[name])
        assert torch.equal(mask, mask_for(Address.parse(f"decoder.{name}"), batch, alone[name]))


def test_every_listed_tap_is_there_and_has_the_listed_shape(sided, line_batch):
    batch = line_batch()
    rows = list_taps(sided)
    assert [row.address for row in rows] == anatomy(sided).addresses()
    assert set(DECODER) < {row.address for row in rows}
    taps = run(sided, [row.address for row in rows if row.address != "labels"], batch)
    for row in rows:
        if row.address != "labels":
            assert row.shape.replace("B", "3").replace("T", "6") == str(list(taps[row.address].shape)), row
    shapes, notes = ({row.address: row[i] for row in rows} for i in (1, 2))
    memory = taps["encoder.hidden:1"].shape[1]
    assert shapes["decoder.cross_attention:2"] == f"[B, 2, T, {memory}]"
    assert shapes["encoder.attention:3"] == f"[B, 2, {memory}, {memory}]"
    assert shapes["logits"] == "[B, T, 40]"
    assert notes["encoder.hidden:3"] == "output of block 3, before the final norm"
    assert notes["decoder.hidden:2"] == "output of block 2"
    alone = {row.address: row.shape for row in list_taps(sided.decoder)}
    assert alone["cross_key:1"] == "[B, 2, S, 12]"
    assert "decoder.hidden:1" not in alone


def test_the_length_of_an_image_is_never_taken_for_that_of_a_target(tiny_sided):
    model = tiny_sided("vit", image_size=[8, 16])  # four patches and the class token
    shapes = {row.address: row.shape for row in list_taps(model)}
    assert shapes["encoder.hidden:1"] == "[B, 5, 16]"
    assert shapes["decoder.cross_attention:1"] == "[B, 2, T, 5]"
    assert shapes["decoder.attention:1"] == "[B, 2, T, T]"


def test_both_sides_are_anatomies_of_their_own(sided):
    found = anatomy(sided)
    encoder, decoder = found.sides["encoder"], found.sides["decoder"]
    assert (encoder.num_blocks, encoder.hidden_size, encoder.num_heads, encoder.size) == (3, 16, 2, "3x16")
    assert (decoder.num_blocks, decoder.hidden_size, decoder.num_heads, decoder.size) == (2, 24, 2, "2x24")
    assert (found.num_blocks, found.hidden_size, found.num_heads, found.size) == (5, 24, 2, "3x16 + 2x24")
    assert found.on("decoder.cross_attention") is decoder
    with pytest.raises(TextkdError, match="two sides"):
        found.part("attention", 1)
    assert decoder.part("cross_scores", 2) is layer(sided, 2).encoder_attn
    assert anatomy(sided.encoder).sides == {}
