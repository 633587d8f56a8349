import pytest

from textkd.errors import TextkdError
from textkd.models.taps import Address


@pytest.mark.parametrize(
    ("text", "address", "family"),
    [
        ("labels", Address("labels"), "labels"),
        ("logits", Address("logits"), "logits"),
        ("hidden:4", Address("hidden", 4), "hidden"),
        ("hidden:-1", Address("hidden", -1), "hidden"),
        ("hidden:0", Address("hidden", 0), "hidden"),
        ("hidden", Address("hidden"), "hidden"),
        ("embeddings", Address("embeddings"), "hidden"),
        ("pooled", Address("pooled"), "hidden"),
        ("ffn:2", Address("ffn", 2), "hidden"),
        ("attention:12", Address("attention", 12), "attention"),
        ("scores:1", Address("scores", 1), "scores"),
        ("query:1", Address("query", 1), "heads"),
        ("key:1", Address("key", 1), "heads"),
        ("value:1", Address("value", 1), "heads"),
        ("module:bert.encoder.layer.1.output", Address("module", path="bert.encoder.layer.1.output"), "hidden"),
        ("module:classifier@input", Address("module", path="classifier", at_input=True), "hidden"),
        ("encoder.hidden:6", Address("hidden", 6, side="encoder"), "hidden"),
        ("decoder.attention:2", Address("attention", 2, side="decoder"), "attention"),
        ("decoder.cross_attention:-1", Address("cross_attention", -1, side="decoder"), "attention"),
        ("cross_scores:1", Address("cross_scores", 1), "scores"),
        ("decoder.cross_key", Address("cross_key", side="decoder"), "heads"),
        ("decoder.logits", Address("logits", side="decoder"), "logits"),
    ],
)
def test_parse_and_print(text, address, family):
    assert Address.parse(text) == address
    assert str(address) == text
    assert address.family == family
    assert Address.parse(address) is address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hiden:4", "nearest: hidden"),
        ("atention", "nearest: attention"),
        ("hidden:x", "not a block number"),
        ("hidden:", "not a block number"),
        ("hidden:1.5", "not a block number"),
        ("logits:3", "belongs to the model"),
        ("module:", "dotted path"),
        ("module", "dotted path"),
        ("module:a@output", "@input"),
        ("", "no kind of tap"),
        ("middle.hidden:1", "no kind of tap"),
    ],
)
def test_what_is_wrong_is_told(text, message):
    with pytest.raises(TextkdError) as caught:
        Address.parse(text)
    assert message in str(caught.value)
    assert f'"{text}"' in str(caught.value)


def test_which_kinds_live_in_blocks():
    assert Address("hidden").needs_block
    assert not Address("pooled").needs_block
    assert not Address("module", path="a").needs_block


def test_what_a_decoder_is_does_not_change_the_name():
    known = Address("attention", 2, side="decoder", causal=True)
    assert known == Address.parse("decoder.attention:2")
    assert str(known) == "decoder.attention:2"
