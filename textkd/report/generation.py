"""Speed of models that write: whole texts from images, with the settings of the model's own folder kept out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import Collector, problem
from textkd.report.speed import KINDS, Speeds, check_batches, device_of, eval_mode, finished, median_seconds

STATED = ("num_beams", "max_new_tokens")
# All that a model keeps of its own generation config: which tokens begin, end and fill a text.
_TOKENS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")


def measure_generation(
    models: Mapping[str, nn.Module],
    batches: Mapping[str, Mapping[str, Tensor]],
    settings: Mapping[str, Any],
    *,
    repeats: int = 10,
    warmup: int = 1,
    budget_s: float = 120.0,
    others: Mapping[str, Mapping[str, Callable[[], Any]]] | None = None,
) -> Speeds:
    """Times `generate` of VisionEncoderDecoderModels in turns, on the same images and with the same settings.

    A poor model may write on until max_new_tokens and look slow, or stop early and look fast: compare times beside the
    tokens.

    Args:
        models: name -> model, each on its own device.
        batches: "latency" (one image, pixel_values [1, 3, H, W]) and "throughput" (several, [B, 3, H, W]); other
            columns are ignored.
        settings: fields of GenerationConfig, num_beams and max_new_tokens among them. What they leave open is the
            library's default, not what a model's folder says, so that all models search alike (no sampling).
        repeats: as in `measure_speed`.
        warmup: as in `measure_speed`.
        budget_s: as in `measure_speed`.
        others: name -> kind of batch -> a call that reads the same images in its own way; timed in the same turns,
            without encoder and tokens.

    Returns:
        name -> the fields of `results.ModelResult`: "latency_ms" (one image), "samples_per_s" (images per second in the
        large batch), "encoder_share" (time of the encoder alone in the same rounds / latency, at most 1),
        "latency_tokens" (tokens written for the one image) and "tokens_per_sample" (mean over the large batch), the end
        token counted, the start token not.

    Raises:
        TextkdError: with every setting, model and batch that cannot be.
    """
    check_batches(batches)
    _check(models, batches, settings)
    others = others or {}
    speeds = Speeds({name: {} for name in (*others, *models)})
    rounds = []
    with eval_mode(models), _searching_alike(models, settings), torch.no_grad():
        for kind in KINDS:
            written: dict[str, Tensor] = {}
            calls: dict[tuple[str, str], Callable[[], Any]] = {(name, "read"): others[name][kind] for name in others}
            for name, model in models.items():
                pixels = batches[kind]["pixel_values"].to(device_of(model))
                calls[name, "generate"] = _generate(name, model, pixels, written)
                if kind == "latency":
                    calls[name, "encoder"] = _encode(model, pixels)
            seconds, done = median_seconds(calls, repeats, warmup, budget_s / 2)
            rounds.append(done)
            for name in others:
                taken = seconds[name, "read"]
                of_many = {"samples_per_s": len(batches[kind]["pixel_values"]) / taken}
                speeds[name].update({"latency_ms": 1e3 * taken} if kind == "latency" else of_many)
            for name, model in models.items():
                taken, tokens = seconds[name, "generate"], _tokens(written[name], model)
                if kind == "latency":
                    share = min(1.0, seconds[name, "encoder"] / taken)
                    speeds[name].update(latency_ms=1e3 * taken, encoder_share=share, latency_tokens=tokens)
                else:
                    speeds[name].update(samples_per_s=len(written[name]) / taken, tokens_per_sample=tokens)
    speeds.repeats = min(rounds)
    return speeds


def _check(models: Mapping[str, nn.Module], batches: Mapping[str, Mapping[str, Tensor]], settings: Any) -> None:
    from transformers import GenerationConfig

    asked, found = "the speed of generating", Collector()
    known = [name for name in vars(GenerationConfig()) if not name.startswith("_")]
    for name in STATED:
        if name not in settings:
            found.add(problem(asked, f"the settings do not say {name}", near=(name, settings)))
    for name in settings:
        if name not in known:
            found.add(problem(asked, f"generate has no setting {name!r}", near=(name, known)))
    for name, model in models.items():
        if not (hasattr(model, "generate") and hasattr(model, "encoder")):
            found.add(problem(asked, f"{name} is a {type(model).__name__}, which has no encoder or does not generate"))
    for kind in KINDS:
        if "pixel_values" not in batches[kind]:
            found.add(problem(asked, f"no pixel_values in the {kind} batch", near=("pixel_values", batches[kind])))
    found.raise_any()


@contextmanager
def _searching_alike(models: Mapping[str, nn.Module], settings: Mapping[str, Any]) -> Iterator[None]:
    # generate() fills what its caller leaves open from the model's own generation config (TrOCR's folders ask for four
    # beams, a length penalty and no repeated n-grams), so that config is exchanged and put back.
    from transformers import GenerationConfig

    every: list[Any] = list(models.values())
    before = [model.generation_config for model in every]
    try:
        for model, own in zip(every, before, strict=True):
            tokens = {name: getattr(own, name, None) for name in _TOKENS}
            model.generation_config = GenerationConfig(**{"do_sample": False, **tokens, **settings})
        yield
    finally:
        for model, own in zip(every, before, strict=True):
            model.generation_config = own


def _generate(name: str, model: Any, pixels: Tensor, written: dict[str, Tensor]) -> Callable[[], None]:
    def call() -> None:
        written[name] = model.generate(pixel_values=pixels)

    return finished(call, device_of(model))


def _encode(model: Any, pixels: Tensor) -> Callable[[], None]:
    return finished(lambda: model.encoder(pixel_values=pixels), device_of(model))


def _tokens(written: Tensor, model: Any) -> float:
    """Mean number of tokens of [B, 1 + T] texts: behind the start token, up to and with the first end token."""
    body, end = written[:, 1:], model.generation_config.eos_token_id
    if end is None:
        return float(body.shape[1])
    ends = torch.isin(body, torch.as_tensor(end, device=body.device))
    before = (ends.cumsum(dim=1) - ends.long()) == 0
    return float(before.sum(dim=1).float().mean())
