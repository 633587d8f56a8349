import pytest
import torch

from textkd.errors import TextkdError
from textkd.taps import Address, is_empty, mask_for, require_some

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


def test_the_decoder_side_follows_its_labels():
    batch = {"pixel_values": torch.zeros(2, 3, 8, 8), "labels": TOKENS}
    assert torch.equal(mask_for(Address.parse("decoder.hidden:1"), batch, torch.zeros(2, 4, 8)), TOKENS != -100)
    assert mask_for(Address.parse("encoder.hidden:1"), batch, torch.zeros(2, 5, 8)) is None


def test_a_mask_of_another_length_is_an_error():
    with pytest.raises(TextkdError, match="beside a tap"):
        mask_for(Address("hidden", 1), TEXT, torch.zeros(2, 5, 8))
    with pytest.raises(TextkdError, match="attention_mask"):
        mask_for(Address("hidden", 1), {"attention_mask": torch.ones(2, 1, 4, 4)})


def test_a_mask_of_everything_is_an_error():
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    assert is_empty(nothing)
    assert not is_empty(ATTENDED.bool())
    assert not is_empty(None)
    with pytest.raises(TextkdError, match="masks everything"):
        require_some(nothing, "hidden:1")
    assert require_some(None, "pooled") is None
    assert require_some(ATTENDED, "hidden:1") is ATTENDED
