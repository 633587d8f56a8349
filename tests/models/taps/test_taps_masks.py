import pytest
import torch

from textkd.errors import TextkdError
from textkd.models.taps import Address, is_empty, mask_for, require_some

ATTENDED = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
TOKENS = torch.tensor([[-100, 2, 1, -100], [-100, 1, -100, -100]])
TEXT = {"attention_mask": ATTENDED}


@pytest.mark.parametrize(
    "kind", ["hidden:1", "embeddings", "ffn:2", "attention:1", "scores:1", "query:1", "module:a.b"]
)
def test_token_wise_taps_follow_the_attention_mask(kind):
    address = Address.parse(kind)
    mask = mask_for(address, TEXT)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, ATTENDED.bool())
    shape = (
        (2, 2, 4, 4)
        if address.family in ("attention", "scores")
        else (2, 2, 4, 8)
        if address.family == "heads"
        else (2, 4, 8)
    )
    assert torch.equal(mask_for(address, TEXT, torch.zeros(shape)), ATTENDED.bool())


def test_rows_have_no_mask():
    assert mask_for(Address("logits"), {**TEXT, "labels": torch.tensor([0, 1])}, torch.zeros(2, 3)) is None
    assert mask_for(Address("logits"), {**TEXT, "labels": torch.tensor([0, 1])}) is None
    assert mask_for(Address("logits"), {**TEXT, "labels": torch.zeros(2, 4)}) is None, "multi-label targets"
    assert mask_for(Address("labels"), {**TEXT, "labels": torch.tensor([0, 1])}) is None
    assert mask_for(Address("pooled"), TEXT, torch.zeros(2, 8)) is None
    assert mask_for(Address("module", path="classifier"), TEXT, torch.zeros(2, 8)) is None


def test_token_logits_follow_their_labels():
    batch = {**TEXT, "labels": TOKENS}
    for kind in ("logits", "labels"):
        assert torch.equal(mask_for(Address(kind), batch, torch.zeros(2, 4, 7)), TOKENS != -100)
        assert torch.equal(mask_for(Address(kind), batch), TOKENS != -100)
    assert torch.equal(mask_for(Address("logits"), TEXT, torch.zeros(2, 4, 7)), ATTENDED.bool())


def test_images_have_no_mask():
    batch = {"pixel_values": torch.zeros(2, 3, 8, 8), "labels": torch.tensor([0, 1])}
    for kind in ("hidden:1", "attention:1", "logits"):
        assert mask_for(Address.parse(kind), batch) is None


VALID = TOKENS != -100  # of rows 2 and 1 targets: [[0, 1, 1, 0], [0, 1, 0, 0]]
LINES = {"pixel_values": torch.zeros(2, 3, 8, 8), "decoder_input_ids": torch.ones(2, 4).long(), "labels": TOKENS}


def by_hand(valid):
    """Query t may look at key s if both count and s is not after t."""
    rows, length = valid.shape
    return torch.tensor(
        [[[bool(valid[b, t] and valid[b, s] and s <= t) for s in range(length)] for t in range(length)]
         for b in range(rows)]
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["hidden:1", "hidden:0", "embeddings", "ffn:2", "query:1", "key:2", "value:1", "cross_query:1"]
)
def test_decoder_positions_follow_the_labels(kind):
    address = Address.parse(f"decoder.{kind}")
    tap = torch.zeros(2, 2, 4, 8) if address.family == "heads" else torch.zeros(2, 4, 8)
    assert torch.equal(mask_for(address, LINES, tap), VALID)
    assert torch.equal(mask_for(address, LINES), VALID)
    known = Address(address.kind, address.block, causal=True)
    assert torch.equal(mask_for(known, {**LINES, "attention_mask": torch.ones(2, 4)}, tap), VALID)


@pytest.mark.parametrize("kind", ["attention:1", "scores:2"])
def test_decoder_attention_is_of_causal_pairs(kind):
    address, tap = Address.parse(f"decoder.{kind}"), torch.zeros(2, 3, 4, 4)
    expected = by_hand(VALID)
    assert expected.sum() == 3 + 1
    assert torch.equal(mask_for(address, LINES, tap), expected)
    assert torch.equal(mask_for(address, LINES), expected)


@pytest.mark.parametrize("kind", ["cross_attention:1", "cross_scores:2"])
def test_cross_attention_is_of_valid_rows_and_all_columns(kind):
    address = Address.parse(f"decoder.{kind}")
    mask = mask_for(address, LINES, torch.zeros(2, 3, 4, 5))
    assert torch.equal(mask, VALID[:, :, None].repeat(1, 1, 5))
    assert torch.equal(mask_for(address, LINES), VALID[:, :, None])
    for other in ("cross_key:1", "cross_value:1"):
        assert mask_for(Address.parse(f"decoder.{other}"), LINES, torch.zeros(2, 3, 5, 8)) is None


def test_the_encoder_of_images_has_no_mask():
    for kind in ("hidden:1", "attention:2", "embeddings", "key:1", "pooled"):
        address = Address.parse(f"encoder.{kind}")
        assert mask_for(address, LINES, torch.zeros(2, 4, 4, 8)) is None
        assert mask_for(address, LINES) is None


def test_logits_of_a_decoder_follow_the_labels():
    for name in ("logits", "decoder.logits", "labels"):
        assert torch.equal(mask_for(Address.parse(name), LINES, torch.zeros(2, 4, 40)), VALID)
        assert torch.equal(mask_for(Address.parse(name), LINES), VALID)


def test_without_labels_the_decoders_own_mask_tells():
    unlabelled = {name: value for name, value in LINES.items() if name != "labels"}
    hidden, maps = Address.parse("decoder.hidden:1"), Address.parse("decoder.attention:1")
    told = {**unlabelled, "decoder_attention_mask": ATTENDED}
    for address in (hidden, Address("logits")):
        assert torch.equal(mask_for(address, told, torch.zeros(2, 4, 8)), ATTENDED.bool())
        assert torch.equal(mask_for(address, told), ATTENDED.bool())
        assert mask_for(address, unlabelled, torch.zeros(2, 4, 8)) is None
        assert mask_for(address, unlabelled) is None
    assert torch.equal(mask_for(maps, told, torch.zeros(2, 3, 4, 4)), by_hand(ATTENDED.bool()))
    everywhere = by_hand(torch.ones(2, 4))
    assert torch.equal(mask_for(maps, unlabelled, torch.zeros(2, 3, 4, 4)), everywhere)
    assert torch.equal(mask_for(maps, unlabelled), everywhere)
    assert mask_for(Address.parse("decoder.cross_scores:1"), unlabelled, torch.zeros(2, 3, 4, 5)) is None
    with_labels = {**told, "labels": TOKENS}
    assert torch.equal(mask_for(hidden, with_labels), VALID), "labels tell before the mask"


def test_modules_of_the_decoder_follow_the_labels_if_they_are_shaped_like_them():
    inside, outside = Address("module", path="decoder.model.decoder"), Address("module", path="encoder.layernorm")
    assert torch.equal(mask_for(inside, LINES, torch.zeros(2, 4, 8)), VALID)
    assert torch.equal(mask_for(inside, LINES), VALID)
    assert mask_for(inside, LINES, torch.zeros(2, 5, 8)) is None
    assert mask_for(outside, LINES, torch.zeros(2, 4, 8)) is None
    for text in (TEXT, {**TEXT, "labels": TOKENS}):
        assert torch.equal(mask_for(inside, text, torch.zeros(2, 4, 8)), ATTENDED.bool()), "a head called decoder"


def test_a_mask_of_another_length_is_an_error():
    with pytest.raises(TextkdError, match="beside a tap"):
        mask_for(Address("hidden", 1), TEXT, torch.zeros(2, 5, 8))
    with pytest.raises(TextkdError, match="attention_mask"):
        mask_for(Address("hidden", 1), {"attention_mask": torch.ones(2, 1, 4, 4)})
    for tap in (torch.zeros(2, 3, 5, 5), torch.zeros(2, 3, 4, 5)):
        with pytest.raises(TextkdError, match="beside a tap"):
            mask_for(Address.parse("decoder.attention:1"), LINES, tap)
    with pytest.raises(TextkdError, match="beside a tap"):
        mask_for(Address.parse("decoder.cross_attention:1"), LINES, torch.zeros(2, 3, 5, 4))
    with pytest.raises(TextkdError, match="decoder_attention_mask"):
        mask_for(Address.parse("decoder.hidden:1"), {"decoder_attention_mask": torch.ones(2, 1, 4)})


def test_a_mask_of_everything_is_an_error():
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    assert is_empty(nothing)
    assert not is_empty(ATTENDED.bool())
    assert not is_empty(None)
    with pytest.raises(TextkdError, match="leaves out every token"):
        require_some(nothing, "hidden:1")
    assert require_some(None, "pooled") is None
    assert require_some(ATTENDED, "hidden:1") is ATTENDED
