"""Logits of which a part is kept come back as distributions that a divergence over all classes can take."""

from __future__ import annotations

import math

import cache_lab
import pytest
import torch
from torch.nn import functional as F

from textkd.errors import TextkdError
from textkd.models.taps import Address
from textkd.teachers.cache import CacheOptions
from textkd.teachers.cache.codecs import codec_for

CLASSES = 50


def kept(logits: torch.Tensor, how: object, temperature: float = 1.0, key: int = 7) -> torch.Tensor:
    codec = codec_for(Address.parse("logits"), CacheOptions(logits=how, temperature=temperature))  # type: ignore[arg-type]
    out = torch.full_like(logits, torch.nan)
    codec.decode(cache_lab.read(codec.encode(codec.prepare(logits), key)), out.numpy())
    return out


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(9, CLASSES, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_likeliest_have_their_shares_and_the_tail_the_rest(logits: torch.Tensor, temperature: float) -> None:
    p, q = (x.div(temperature).softmax(-1) for x in (logits, kept(logits, {"top_k": 6}, temperature)))
    best = p.topk(6).indices
    assert torch.allclose(q.gather(-1, best), p.gather(-1, best), atol=1e-6)
    rest = q.scatter(-1, best, 0)
    assert torch.allclose(rest.sum(-1), p.scatter(-1, best, 0).sum(-1), atol=1e-6)
    assert torch.allclose(rest.sort(-1).values[:, 6:], (rest.sum(-1) / (CLASSES - 6))[:, None], atol=1e-7)


def test_all_classes_are_the_logits_up_to_a_constant(logits: torch.Tensor) -> None:
    assert torch.allclose(kept(logits, {"top_k": CLASSES}), logits.log_softmax(-1), atol=1e-5)
    assert torch.allclose(kept(logits, {"mass": 1.0}).softmax(-1), logits.softmax(-1), atol=1e-6)


def test_mass_keeps_as_few_as_hold_it(logits: torch.Tensor) -> None:
    codec = codec_for(Address.parse("logits"), CacheOptions(logits={"mass": 0.9, "top_k": 20}))
    counts = codec.encode(logits, 0)["counts"]
    shares = logits.softmax(-1).sort(-1, descending=True).values.cumsum(-1)
    assert counts.tolist() == [min(20, int((row < 0.9).sum()) + 1) for row in shares]
    assert counts.unique().numel() > 2
    p, q = logits.softmax(-1), kept(logits, {"mass": 0.9, "top_k": 20}).softmax(-1)
    for row, count in enumerate(counts.tolist()):
        best = p[row].topk(count).indices
        assert torch.allclose(q[row, best], p[row, best], atol=1e-6)
    assert torch.allclose(q.sum(-1), torch.ones(9))


def test_draws_are_an_unbiased_estimate(logits: torch.Tensor) -> None:
    p = logits.softmax(-1)
    draws = torch.stack([kept(logits, {"samples": 16}, key=key).softmax(-1) for key in range(400)])
    assert torch.allclose(draws.sum(-1), torch.ones(400, 9))
    assert ((draws * 16 - (draws * 16).round()).abs() < 1e-4).all()
    # the mean of 400 x 16 draws is off by 1 in 80 of the square root of p at most, five times over
    assert ((draws.mean(0) - p).abs() < 5 * p.sqrt() / 80 + 1e-4).all()
    assert torch.equal(kept(logits, {"samples": 16}), kept(logits, {"samples": 16}))


@pytest.mark.parametrize("how", [{"top_k": 3}, {"mass": 0.5}, {"samples": 4}])
def test_a_divergence_and_its_gradient_are_finite(logits: torch.Tensor, how: object) -> None:
    logits[0, 0] = 200.0  # the rest of the first row is nothing
    logits[1, 5:] = -torch.inf
    for temperature in (1.0, 4.0):
        teacher = kept(logits, how, temperature)
        assert teacher.isfinite().all()
        student = torch.zeros(9, CLASSES, requires_grad=True)
        log_q, log_p = (x.div(temperature).log_softmax(-1) for x in (student, teacher))
        for one, other in ((log_q, log_p), (log_p, log_q)):
            loss = F.kl_div(one, other, log_target=True, reduction="batchmean")
            assert loss.isfinite()
            assert torch.autograd.grad(loss, student, retain_graph=True)[0].isfinite().all()


def test_what_is_kept_is_small(logits: torch.Tensor) -> None:
    codec = codec_for(Address.parse("logits"), CacheOptions(logits={"top_k": 8}))
    parts = codec.encode(logits, 0)
    assert sum(part.numel() * part.element_size() for part in parts.values()) == 9 * (8 * (2 + 4) + 4)


def test_few_classes_stay_float32_and_many_are_halved() -> None:
    codec = codec_for(Address.parse("logits"), CacheOptions())
    assert codec.prepare(torch.zeros(2, 1024)).dtype == torch.float32
    assert codec.prepare(torch.zeros(2, 1025)).dtype == torch.bfloat16
    assert codec_for(Address.parse("hidden:1"), CacheOptions()).prepare(torch.zeros(2, 3)).dtype == torch.bfloat16


def test_a_row_of_classes_is_one_position() -> None:
    logits = torch.tensor([1.0, 2.0, 3.0, -1.0])
    assert kept(logits, {"top_k": 2}).softmax(-1)[2] == pytest.approx(logits.softmax(-1)[2].item())


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ({"precison": "int8"}, "no such option of a cache"),
        ({"precision": "int4"}, "no such precision"),
        ({"logits": {"top_k": 0}}, "whole number"),
        ({"logits": {"k": 3}}, "unknown key"),
        ({"logits": "sparse"}, "no way to keep logits"),
        ({"logits": {"mass": 1.5}}, "not a share"),
        ({"logits": {"samples": 3, "mass": 0.5}}, "drawn or the likeliest"),
        ({"max_gb": 0}, "not a finite number above 0"),
        ({"temperature": True}, "not a finite number above 0"),
        ({"max_gb": float("nan")}, "max_gb: nan"),
        ({"max_gb": float("inf")}, "max_gb: inf"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"folder": 3}, "not a path"),
    ],
)
def test_options_that_cannot_be_are_refused(block: dict[str, object], found: str) -> None:
    with pytest.raises(TextkdError, match=found):
        CacheOptions.of(block)


def test_options_are_read() -> None:
    assert CacheOptions.of(False) is None
    assert CacheOptions.of(True) == CacheOptions()
    assert CacheOptions.of({"precision": "int8", "max_gb": 2}) == CacheOptions("int8", max_gb=2)
    assert math.isclose(CacheOptions.of({"logits": {"top_k": 2}, "temperature": 4}).temperature, 4)  # type: ignore[union-attr]


def test_values_that_are_not_finite_do_not_fit_8_bits() -> None:
    codec = codec_for(Address.parse("hidden:1"), CacheOptions(precision="int8"))
    with pytest.raises(TextkdError, match="not finite"):
        codec.encode(torch.tensor([[1.0, torch.inf]]), 0)
