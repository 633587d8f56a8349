"""Speed of models that write, on tiny recognisers and on one whose times and texts are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recogniser_fakes import tiny_recogniser
from torch import Tensor, nn
from transformers import GenerationConfig

from textkd.errors import TextkdError
from textkd.report import measure_generation
from textkd.report.results import ModelResult

SETTINGS = {"num_beams": 1, "max_new_tokens": 6}
END, PAD = 2, 1
NOW = [0.0]


def images(several: int = 4) -> dict[str, dict[str, Tensor]]:
    pixels = torch.randn(several, 3, 8, 32, generator=torch.Generator().manual_seed(0))
    return {"latency": {"pixel_values": pixels[:1]}, "throughput": {"pixel_values": pixels, "labels": pixels}}


class Clock(nn.Module):
    """Moves a clock on by known times, writes known tokens, and remembers how it was called."""

    def __init__(self, name: str, encoder_s: float, decoder_s: float, texts: list[list[int]], calls: list[str]) -> None:
        super().__init__()
        self.name, self.decoder_s, self.texts, self.calls = name, decoder_s, texts, calls
        self.generation_config: Any = GenerationConfig(
            num_beams=4, length_penalty=2.0, no_repeat_ngram_size=3, max_length=9, eos_token_id=END, pad_token_id=PAD
        )
        self.encoder = Encoder(name, encoder_s, calls)
        self.dropout = nn.Dropout()

    def generate(self, pixel_values: Tensor) -> Tensor:
        assert not self.dropout.training
        assert not torch.is_grad_enabled()
        self.calls.append(f"{self.name} writes {len(pixel_values)}")
        self.seen = self.generation_config
        NOW[0] += self.encoder.seconds + self.decoder_s
        return torch.tensor([[END, *text] for text in self.texts[: len(pixel_values)]])


class Encoder(nn.Module):
    def __init__(self, name: str, seconds: float, calls: list[str]) -> None:
        super().__init__()
        self.name, self.seconds, self.calls = name, seconds, calls

    def forward(self, pixel_values: Tensor) -> Any:
        self.calls.append(f"{self.name} encodes {len(pixel_values)}")
        NOW[0] += self.seconds
        return SimpleNamespace(last_hidden_state=pixel_values)


def test_times_shares_and_tokens_of_models_whose_numbers_are_known(monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: NOW[0])
    calls: list[str] = []
    short, long = [5, 6, END, PAD, PAD, PAD], [5, 6, 7, 8, 9, 9]
    models = {
        "a": Clock("a", 0.01, 0.03, [short, long, short, long], calls),
        "b": Clock("b", 0.006, 0.004, [long] * 4, calls),
    }
    speeds = measure_generation(models, images(), SETTINGS, repeats=3, warmup=1)
    assert calls == ["a writes 1", "a encodes 1", "b writes 1", "b encodes 1"] * 4 + ["a writes 4", "b writes 4"] * 4
    assert speeds.repeats == 3
    a, b = speeds["a"], speeds["b"]
    assert (a["latency_ms"], b["latency_ms"]) == pytest.approx((40, 10))
    assert (a["encoder_share"], b["encoder_share"]) == pytest.approx((0.25, 0.6))
    assert (a["samples_per_s"], b["samples_per_s"]) == pytest.approx((100, 400))
    # the end token counts, what fills up behind it and the start token do not
    assert (a["latency_tokens"], a["tokens_per_sample"]) == (3, 4.5)
    assert (b["latency_tokens"], b["tokens_per_sample"]) == (6, 6)


def test_all_models_search_alike_whatever_their_folders_say_and_get_their_own_settings_back():
    model = Clock("a", 0.0, 0.0, [[END]] * 4, [])
    own = model.generation_config
    model.train()
    measure_generation({"a": model}, images(), {**SETTINGS, "length_penalty": 0.5}, repeats=1, warmup=0)
    seen = model.seen.to_dict()
    assert (seen["num_beams"], seen["max_new_tokens"], seen["length_penalty"]) == (1, 6, 0.5)
    assert (seen["eos_token_id"], seen["pad_token_id"], seen["do_sample"]) == (END, PAD, False)
    assert not seen.get("no_repeat_ngram_size")
    assert seen.get("max_length") in (None, GenerationConfig().max_length)
    assert model.generation_config is own
    assert model.dropout.training


def test_settings_come_back_after_an_error():
    model = Clock("a", 0.0, 0.0, [[END]], [])
    own = model.generation_config
    model.texts = [[1], [1, 2]]
    with pytest.raises(ValueError, match="length"):
        measure_generation({"a": model}, images(2), SETTINGS, repeats=1)
    assert model.generation_config is own


def test_a_stopped_budget_still_makes_three_rounds():
    calls: list[str] = []
    speeds = measure_generation({"a": Clock("a", 0, 0.01, [[END]] * 4, calls)}, images(), SETTINGS, budget_s=0.0)
    assert speeds.repeats == 3
    assert calls.count("a writes 4") == 4


def lengths(texts: list[list[int]], end: int) -> list[int]:
    return [text.index(end) + 1 if end in text else len(text) for text in texts]


def an_end(texts: list[list[int]]) -> int:
    """A token that would end these texts at different places."""
    return next(token for text in texts for token in text if len(set(lengths(texts, token))) > 1)


@pytest.mark.long
@pytest.mark.parametrize("beams", [1, 2])
def test_real_recognisers_are_measured_as_they_generate(beams):
    models = {"teacher": tiny_recogniser(2), "student": tiny_recogniser(1)}
    pixels, settings = images()["throughput"]["pixel_values"], {"num_beams": beams, "max_new_tokens": 6}
    ends = {name: an_end(model.generate(pixels, **settings)[:, 1:].tolist()) for name, model in models.items()}
    for name, model in models.items():
        model.generation_config.eos_token_id = ends[name]
    models["teacher"].generation_config.no_repeat_ngram_size = 1
    speeds = measure_generation(models, images(), settings, repeats=2)
    for name, model in models.items():
        result = speeds[name]
        assert {"latency_ms", "samples_per_s", "encoder_share", "latency_tokens", "tokens_per_sample"} == set(result)
        assert set(result) <= set(ModelResult.model_fields)
        assert 0 < result["encoder_share"] <= 1
        alone = model.generate(pixels, **settings, no_repeat_ngram_size=0)[:, 1:].tolist()
        counts = lengths(alone, ends[name])
        assert len(set(counts)) > 1
        assert result["tokens_per_sample"] == pytest.approx(sum(counts) / len(counts))
        assert result["latency_tokens"] == counts[0]


def test_all_that_is_wrong_is_told_at_once():
    batches = {"latency": {"pixel_values": torch.zeros(1, 3, 8, 32)}, "throughput": {"input_ids": torch.zeros(4)}}
    with pytest.raises(TextkdError) as caught:
        measure_generation({"a": nn.Linear(1, 1)}, batches, {"num_beam": 2, "max_new_tokens": 3})
    said = str(caught.value)
    for what in ("do not say num_beams", "no setting 'num_beam'", "a is a Linear", "no pixel_values in the throughput"):
        assert what in said
    with pytest.raises(TextkdError, match="no 'latency' batch"):
        measure_generation({}, {}, SETTINGS)
