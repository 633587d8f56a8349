import pytest
import torch
import transformers as hf

from textkd.errors import TextkdError
from textkd.models.taps import PLANS, Capture, anatomy, list_taps


def test_the_parts_are_found(architecture, tiny):
    found = anatomy(tiny(architecture))
    assert (found.num_blocks, found.num_heads, found.hidden_size) == (3, 2, 16)
    assert len(set(map(id, found.blocks))) == (1 if architecture == "albert" else 3)
    assert str(found.resolve("hidden:-1")) == "hidden:3"
    assert str(found.resolve("attention:-3")) == "attention:1"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hidden:4", "has 3 blocks"),
        ("hidden:-4", "has 3 blocks"),
        ("attention:0", "attention:1 to attention:3"),
        ("hidden", "no block number"),
        ("encoder.hidden:1", "no sides"),
        ("module:nothing.here", "has no module"),
        ("hiden:1", "nearest: hidden"),
    ],
)
def test_what_a_model_does_not_have(architecture, address, message, tiny):
    with pytest.raises(TextkdError, match=message):
        anatomy(tiny(architecture)).resolve(address)


def test_every_bad_address_is_told_at_once(tiny):
    with pytest.raises(TextkdError) as caught:
        Capture(tiny("bert"), ["hidden:9", "logits", "pooledd", "module:bert.pooler.dens"])
    assert len(caught.value.problems) == 3
    assert "bert.pooler.dense" in str(caught.value)


@pytest.mark.parametrize("name", ["roberta", "distilbert", "electra", "modernbert", "vit", "deit"])
def test_pooled_without_a_pooler(name, tiny):
    model = tiny(name)
    assert "pooled" not in anatomy(model).addresses()
    with pytest.raises(TextkdError, match="no pooler"):
        Capture(model, ["pooled"])


def test_logits_without_a_head(tiny):
    assert "logits" not in anatomy(tiny("bert", "bare")).addresses()
    with pytest.raises(TextkdError, match="bare encoder"):
        Capture(tiny("bert", "bare"), ["logits"])


def test_a_pretraining_head_names_its_logits_otherwise(tiny, inputs):
    config = hf.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24
    )
    model = hf.BertForPreTraining(config).eval()
    assert "logits" not in [row.address for row in list_taps(model)]
    with pytest.raises(TextkdError, match="prediction_logits"):
        Capture(model, ["logits"]).run(model, **inputs(model))


def test_an_unknown_architecture_names_the_known_ones():
    model = hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40)).eval()
    found = anatomy(model)
    assert found.addresses() == ["labels", "logits", "head_input"]
    for asked in (lambda: found.resolve("hidden:1"), lambda: found.num_blocks, lambda: list_taps(model)):
        with pytest.raises(TextkdError, match='"gpt2" is not known') as caught:
            asked()
        assert "modernbert" in str(caught.value) or "module:" in str(caught.value)
    ids = torch.ones(2, 5, dtype=torch.long)
    taps = Capture(model, ["logits", "module:transformer.h.0.mlp"]).run(model, input_ids=ids)["taps"]
    assert taps["logits"].shape == (2, 5, 40)
    assert taps["module:transformer.h.0.mlp"].shape == (2, 5, 16)


def test_a_wrapped_model_is_told(tiny):
    with pytest.raises(TextkdError, match="wrapper"):
        anatomy(torch.nn.DataParallel(tiny("bert")))


def test_an_attention_kernel_whose_masks_cannot_be_read(tiny):
    model = tiny("bert")
    model.config._attn_implementation = "flash_attention_2"
    assert "attention:1" not in anatomy(model).addresses()
    assert "hidden:1" in anatomy(model).addresses()
    with pytest.raises(TextkdError, match="sdpa"):
        Capture(model, ["query:1"])


def test_chunked_feed_forward_is_told(tiny):
    model = tiny("bert")
    model.config.chunk_size_feed_forward = 4
    with pytest.raises(TextkdError, match="chunk"):
        Capture(model, ["ffn:1"])


def test_albert_groups(inputs):
    config = hf.AlbertConfig(vocab_size=40, embedding_size=12, hidden_size=16, num_hidden_layers=4, num_hidden_groups=2,
                             inner_group_num=2, num_attention_heads=2, intermediate_size=24)  # fmt: skip
    model = hf.AlbertModel(config).eval()
    batch = inputs(model)
    with torch.no_grad():
        expected = model(**batch, output_hidden_states=True).hidden_states
        assert anatomy(model).num_blocks == len(expected) - 1 == 8
        taps = Capture(model, [f"hidden:{k}" for k in range(9)]).run(model, **batch)["taps"]
    for k, state in enumerate(expected):
        assert torch.equal(taps[f"hidden:{k}"], state)


def test_all_planned_architectures_are_tested(architecture):
    assert architecture in PLANS
    assert "trocr" in PLANS, "in test_taps_sides"
    assert {"textkd_bilstm", "textkd_textcnn"} < {*PLANS}, "in tests/models/own"
    assert len(PLANS) == 12
