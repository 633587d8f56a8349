"""Taps of named models: `[model/]address`."""

from __future__ import annotations

import pytest

from textkd.errors import TextkdError
from textkd.models.taps import Address, Tap


@pytest.mark.parametrize(
    ("text", "model", "address"),
    [
        ("logits", "", Address("logits")),
        ("hidden:4", "", Address("hidden", 4)),
        ("big/logits", "big", Address("logits")),
        ("peer_2/hidden:-1", "peer_2", Address("hidden", -1)),
        (" big/hidden ", "big", Address("hidden")),
        ("reader/decoder.cross_attention:2", "reader", Address("cross_attention", 2, side="decoder")),
        ("big/module:bert.pooler@input", "big", Address("module", path="bert.pooler", at_input=True)),
        ("sst2.v1/labels", "sst2.v1", Address("labels")),  # a dot belongs to the model's name, and not to a side
    ],
)
def test_a_tap_is_a_model_and_an_address(text: str, model: str, address: Address) -> None:
    tap = Tap.parse(text)
    assert (tap.model, tap.address) == (model, address)
    assert str(tap) == text.strip()
    assert Tap.parse(str(tap)) == tap


def test_what_is_parsed_already_stays() -> None:
    tap = Tap(Address("hidden", 2), "big")
    assert Tap.parse(tap) is tap
    assert Tap.parse(tap.address) == Tap(tap.address)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/logits", "not one model and one address"),
        ("big/other/logits", "not one model and one address"),
        ("big/", 'no kind of tap is called ""'),
        ("big/hiden:4", "nearest: hidden"),
        ("big", 'no kind of tap is called "big"'),
        ("big/hidden:two", "two"),
        ("hidden:4/big", 'no kind of tap is called "big"'),
        ("", "no kind of tap"),
    ],
)
def test_what_is_no_tap_is_told(text: str, words: str) -> None:
    with pytest.raises(TextkdError) as raised:
        Tap.parse(text)
    assert words in str(raised.value)
    assert f'"{text}"' in str(raised.value) or "/" in text


def test_a_tap_of_another_model_or_block() -> None:
    tap = Tap.parse("big/hidden:4")
    assert str(tap.of("peer")) == "peer/hidden:4"
    assert str(tap.at(1)) == "big/hidden:1"
    assert str(tap.at(None)) == "big/hidden"
    assert str(tap) == "big/hidden:4"
