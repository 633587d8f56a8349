"""Encoder-decoders: what is refused, generation, early stops."""

import pytest
import torch
import transformers as hf

from textkd.errors import TextkdError
from textkd.models.taps import Capture, anatomy, list_taps

EVERYTHING = ["logits", "encoder.attention:2", "encoder.hidden:3", "decoder.embeddings", "decoder.hidden:2"]
EVERYTHING += ["decoder.attention:1", "decoder.value:2", "decoder.cross_attention:2", "decoder.cross_scores:1"]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hidden:4", 'two sides.*\n.*"encoder.hidden:4" or "decoder.hidden:4"'),
        ("embeddings", '"encoder.embeddings" or "decoder.embeddings"'),
        ("cross_attention:1", 'two sides.*\n.*fix: "decoder.cross_attention:1"$'),
        ("pooled", 'two sides.*\n.*fix: "encoder.pooled"$'),
        ("encoder.cross_attention:1", 'without cross-attention[^$]*"decoder.cross_attention:1"'),
        ("encoder.cross_key:1", "without cross-attention"),
        ("encoder.hidden:4", "has 3 blocks[^$]*encoder.hidden:0 to encoder.hidden:3"),
        ("decoder.hidden:3", "TrOCRForCausalLM has 2 blocks"),
        ("decoder.attention:0", "decoder.attention:1 to decoder.attention:2"),
        ("decoder.cross_attention:-3", "has 2 blocks"),
        ("decoder.hidden", "no block number"),
        ("decoder.pooled", "no pooler"),
        ("encoder.logits", 'makes no logits[^$]*"logits"'),
        ("encoder.labels", "makes no logits"),
        ("decoder.module:model.decoder", '"module:decoder.model.decoder"'),
        ("module:decoder.modell", "has no module"),
    ],
)
def test_what_an_encoder_decoder_does_not_have(address, message, sided):
    with pytest.raises(TextkdError, match=message):
        anatomy(sided).resolve(address)
    with pytest.raises(TextkdError):
        Capture(sided, ["logits", address])
    assert hooks(sided) == 0


def test_an_encoder_of_text_or_images_has_no_sides_and_no_cross_attention(tiny, sided):
    for model in (tiny("bert"), tiny("vit"), sided.encoder):
        with pytest.raises(TextkdError, match=r'an encoder without cross-attention[^$]*"attention:1"'):
            anatomy(model).resolve("cross_attention:1")
        with pytest.raises(TextkdError, match="no sides"):
            anatomy(model).resolve("encoder.hidden:1")
        assert not [name for name in anatomy(model).addresses() if "cross" in name]
    with pytest.raises(TextkdError, match="a decoder and has no sides"):
        anatomy(sided.decoder).resolve("decoder.hidden:1")


def test_layerdrop_in_the_decoder_is_refused(tiny_sided):
    model = tiny_sided(decoder_layerdrop=0.1)
    for address in ("decoder.hidden:1", "decoder.embeddings", "decoder.cross_attention:2"):
        with pytest.raises(TextkdError, match="layerdrop"):
            Capture(model, [address])
    Capture(model, ["encoder.hidden:1", "logits"]).remove()
    assert not [row for row in list_taps(model) if row.address.startswith("decoder.")]
    assert [row.address for row in list_taps(model.decoder)] == ["labels", "logits", "head_input"]


def test_a_decoder_that_is_not_known_is_told(tiny_sided):
    encoder = tiny_sided().encoder
    config = hf.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                           intermediate_size=24, is_decoder=True, add_cross_attention=True)  # fmt: skip
    model = hf.VisionEncoderDecoderModel(encoder=encoder, decoder=hf.BertLMHeadModel(config)).eval()
    for asked in (
        lambda: Capture(model, ["decoder.attention:1"]),
        lambda: list_taps(model),
    ):
        with pytest.raises(TextkdError, match='of the decoder "bert" is not known') as caught:
            asked()
        assert "known: trocr;" in str(caught.value)
    batch = {"pixel_values": torch.randn(2, 3, 8, 32), "decoder_input_ids": torch.ones(2, 5, dtype=torch.long)}
    taps = Capture(model, ["encoder.hidden:3", "logits"]).run(model, **batch)["taps"]
    assert taps["logits"].shape == (2, 5, 40)


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"do_sample": True}])
def test_generate_with_hooks_installed_is_unchanged(settings, sided, line_batch):
    pixels = line_batch()["pixel_values"]

    def generate():
        torch.manual_seed(5)
        return sided.generate(pixel_values=pixels, max_new_tokens=12, **settings)

    expected = generate()
    assert expected.shape[1] > 2
    capture = Capture(sided, EVERYTHING)
    assert torch.equal(generate(), expected)
    with torch.no_grad():
        capture.run(sided, **line_batch())
    assert torch.equal(generate(), expected)
    capture.remove()
    assert hooks(sided) == 0
    assert torch.equal(generate(), expected)


@pytest.mark.parametrize(
    ("addresses", "blocks"),
    [
        (["encoder.hidden:1", "encoder.attention:2"], (2, 0)),
        (["encoder.pooled"], (3, 0)),
        (["encoder.hidden:3", "decoder.attention:1", "decoder.query:1"], (3, 1)),
        (["decoder.cross_scores:1"], (3, 1)),
        (["decoder.hidden:0"], (3, 1)),
        (["decoder.hidden:-1"], (3, 2)),
    ],
)
def test_an_early_stop_runs_no_further_than_the_last_tap(addresses, blocks, sided, line_batch):
    batch, full = line_batch(), Capture(sided, addresses)
    with torch.no_grad():
        expected = full.run(sided, **batch)["taps"]
    full.remove()
    ran = []
    decoder = sided.decoder.register_forward_pre_hook(lambda module, args: ran.append("decoder"))
    head = sided.decoder.output_projection.register_forward_pre_hook(lambda module, args: ran.append("head"))
    sides = anatomy(sided).sides
    capture = Capture(sided, addresses, stop_early=True)
    handles = [block.register_forward_pre_hook(lambda module, args, side=side: ran.append(f"block of {side}"))
               for side, part in sides.items() for block in part.blocks]  # fmt: skip
    with torch.no_grad():
        captured = capture.run(sided, **batch)
    # the input of block 1 is read before our counting hook on that block
    counted = (blocks[0], 0) if addresses == ["decoder.hidden:0"] else blocks
    assert (ran.count("block of encoder"), ran.count("block of decoder")) == counted
    assert ("decoder" in ran) == (blocks[1] > 0)
    assert "head" not in ran
    assert captured["outputs"] == {}
    assert set(captured["taps"]) == set(expected)
    for name, tap in expected.items():
        assert torch.equal(captured["taps"][name], tap)
    for handle in (decoder, head, *handles):
        handle.remove()
    with torch.no_grad():
        assert sided(**batch).logits.shape == (3, 6, 40)


@pytest.mark.parametrize("address", ["decoder.attention:1", "decoder.query:2", "decoder.cross_attention:2"])
def test_keys_from_a_cache_are_refused(address, sided, line_batch):
    batch = line_batch()
    batch.pop("labels")
    ids = batch.pop("decoder_input_ids")
    capture = Capture(sided, [address])
    with torch.no_grad():
        first = sided(**batch, decoder_input_ids=ids[:, :4], use_cache=True)
        with pytest.raises(TextkdError, match="past_key_values"):
            capture.run(sided, **batch, decoder_input_ids=ids[:, 4:], past_key_values=first.past_key_values)
        assert set(capture.run(sided, **batch, decoder_input_ids=ids)["taps"]) == {address}


def test_an_encoder_that_ran_before_gives_decoder_taps_alone(sided, line_batch):
    batch = line_batch()
    with torch.no_grad():
        expected = Capture(sided, ["decoder.cross_attention:1"]).run(sided, **batch)["taps"]
        shared = sided.encoder(pixel_values=batch.pop("pixel_values"))
        taps = Capture(sided, ["decoder.cross_attention:1"]).run(sided, **batch, encoder_outputs=shared)["taps"]
        assert torch.equal(taps["decoder.cross_attention:1"], expected["decoder.cross_attention:1"])
        with pytest.raises(TextkdError, match="did not run"):
            Capture(sided, ["encoder.hidden:1"]).run(sided, **batch, encoder_outputs=shared)


def test_a_decoder_without_an_encoder_has_no_cross_taps_in_that_forward(sided, line_batch):
    ids = line_batch()["decoder_input_ids"]
    with torch.no_grad():
        assert Capture(sided.decoder, ["attention:1"]).run(sided.decoder, input_ids=ids)["taps"]
        with pytest.raises(TextkdError, match="did not run"):
            Capture(sided.decoder, ["cross_attention:1"]).run(sided.decoder, input_ids=ids)


def test_a_model_that_returns_tuples(sided, line_batch):
    batch = line_batch()
    expected = sided(**batch).logits
    sided.config.return_dict = False
    assert torch.equal(Capture(sided, ["logits", "decoder.hidden:1"]).run(sided, **batch)["taps"]["logits"], expected)
    assert isinstance(sided(**batch), tuple)
