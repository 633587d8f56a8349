"""Images of lines -> texts with a vision-encoder-decoder model: settings, generation, confidences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from textkd.errors import Collector, problem
from textkd.models.forward import evaluating, positions
from textkd.tasks.ocr.options import MOST
from textkd.tasks.ocr.processor import Quiet, decode_texts

Collate = Callable[[Sequence[dict[str, Any]]], dict[str, Tensor]]
SLACK, SLACK_TOKENS = 1.25, 8
OF_BEAMS = ("length_penalty", "early_stopping")


@dataclass(frozen=True)
class Generation:
    """How texts are generated. Only these settings count: those in a model folder's generation_config.json (beams,
    penalties, lengths) do not, so that two models are compared alike.

    num_beams 1 is greedy search. max_new_tokens None: a quarter and 8 tokens more than the longest label of the rows,
    so that a model may run on and pay for it, but not for ever; the decoder's positions where rows have no labels.
    """

    num_beams: int = 1
    max_new_tokens: int | None = None
    length_penalty: float = 1.0
    early_stopping: bool = False
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> Generation:
        """From a `generation:` block. Raises `TextkdError` with every key and value that cannot be."""
        collector, known, options = Collector(), list(cls.__dataclass_fields__), dict(options or {})
        for key, value in options.items():
            if key not in known:
                fix = "leave sampling out: every run is to give the same texts" if "sampl" in key else ""
                found = f"the settings are {', '.join(known)}"
                collector.add(problem(key, found, near=(key, known), fix=fix, where="generation"))
            elif wrong := _wrong(key, value):
                collector.add(problem(f"{key}: {value!r}", wrong, where="generation"))
        if not collector.problems and options.get("num_beams", 1) == 1:
            found, fix = "it weighs beams, and greedy search (num_beams: 1) has one", "leave it out, or num_beams: 4"
            collector.add(*(problem(f"{key}: {options[key]!r}", found, fix=fix, where="generation")
                            for key in OF_BEAMS if key in options))  # fmt: skip
        collector.raise_any()
        return cls(**options)

    def settings(self, model: Any = None, longest: int = 0) -> dict[str, Any]:
        """The settings in words and numbers for a report; with a model (and its rows' longest label) max_new_tokens is
        a number."""
        limit = "1.25 x the longest label + 8" if model is None else token_limit(model, self.max_new_tokens, longest)
        return {**asdict(self), "max_new_tokens": self.max_new_tokens or limit, "do_sample": False}


def _wrong(key: str, value: Any) -> str:
    if key == "early_stopping":
        return "" if isinstance(value, bool) else "true or false"
    if key == "max_new_tokens" and value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "not a number"
    if key in ("length_penalty", "repetition_penalty"):
        if not math.isfinite(value):
            return "not a finite number"
        return "" if value > 0 or key == "length_penalty" else "it must be above 0"
    least = 0 if key == "no_repeat_ngram_size" else 1
    return (
        "" if isinstance(value, int) and least <= value <= MOST[key] else f"a whole number from {least} to {MOST[key]}"
    )


@dataclass(frozen=True)
class Reading:
    """One transcription. mean_log_prob, min_prob: of the generated tokens, the eos counted in, by the model's own
    softmax. tokens: their number. finished: eos came before the limit. Without scores both are NaN."""

    text: str
    mean_log_prob: float
    min_prob: float
    tokens: int
    finished: bool


def settle_settings(model: Any, settings: Generation, longest: int) -> None:
    """Writes how texts are generated here into a model's own generation settings; what stood there is gone."""
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
    kept = {name: getattr(model.generation_config, name) for name in names}
    limit = token_limit(model, settings.max_new_tokens, longest)
    model.generation_config = GenerationConfig(**{**asdict(settings), "max_new_tokens": limit}, do_sample=False, **kept)


def token_limit(model: Any, asked: int | None, longest: int) -> int:
    """The tokens that may be generated for a line, eos counted in (see `Generation.max_new_tokens`)."""
    most = positions(model)
    if asked is None:
        asked = int(SLACK * longest) + SLACK_TOKENS if longest else most
    return max(1, min(asked, most))


def transcribe(
    model: nn.Module,
    rows: Any,
    collator: Collate,
    batch_size: int = 16,
    generation: Generation | None = None,
    scores: bool = True,
) -> list[Reading]:
    """Texts that `model` generates for `rows`, in the rows' order, in eval mode; every module's mode comes back.

    rows: `LineRows`. collator: `LineCollator`; its processor writes the texts, its start token begins them. Batches
    hold lines of like length. scores: confidences too (keeps the logits of a batch: tokens x rows x beams x vocabulary
    x 4 bytes). A model with a method `read_images` (images -> text, tokens, finished of each) prepares the images and
    writes the texts itself, by its `generation_config`, without scores. Raises `TextkdError` where a row's image cannot
    be read.
    """
    generation = generation or Generation()
    lengths = list(rows["length"])
    processor: Any = collator.processor  # type: ignore[attr-defined]
    config = _config(model, collator, generation, max(lengths, default=0), scores)
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    device = next(model.parameters()).device
    readings: dict[int, Reading] = {}
    reads = getattr(model, "read_images", None)
    with evaluating(model), torch.inference_mode(), Quiet(), _alone(model, config):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            if reads is not None:
                answers = reads([rows[i]["image"] for i in chosen])
                found = [Reading(text, math.nan, math.nan, *more) for text, *more in answers]
            else:
                images = collator([rows[i] for i in chosen])["pixel_values"].to(device)
                out = model.generate(pixel_values=images)  # type: ignore[operator]
                found = _readings(out, processor.tokenizer, scores)
            readings.update(zip(chosen, found, strict=True))
    return [readings[i] for i in range(len(order))]


def generator(collator: Any, generation: Generation, longest: int) -> Callable[[Any, Mapping[str, Tensor]], Tensor]:
    """``f(model, batch) -> ids [B, T]``, the start token left out, by the settings of `transcribe`."""

    def generate(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        config = _config(model, collator, generation, longest, scores=False)
        with Quiet(), _alone(model, config):
            ids: Tensor = model.generate(pixel_values=batch["pixel_values"]).sequences[:, 1:]
        return ids

    return generate


def first_tokens(model: Any, batch: Mapping[str, Tensor], generation: Generation) -> Tensor:
    """[1, T] ids that `model` begins the text of the first row with, by the settings of `transcribe`: to see it work.
    batch: of a `LineCollator`."""
    settings = {**asdict(generation), "max_new_tokens": min(2, token_limit(model, generation.max_new_tokens, 0))}
    start, device = int(batch["decoder_input_ids"][0, 0]), next(model.parameters()).device
    config = GenerationConfig(**settings, do_sample=False, use_cache=True, decoder_start_token_id=start)
    with Quiet(), _alone(model, config):
        ids: Tensor = model.generate(pixel_values=batch["pixel_values"][:1].to(device))
    return ids


@contextmanager
def _alone(model: Any, config: GenerationConfig) -> Iterator[None]:
    """`config` in place of the model's own settings, by which `generate` would fill in all that is not said."""
    own, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = own


def cut_at(rows: Sequence[list[int]], eos: int) -> list[list[int]]:
    """Each row up to its first eos and with it."""
    return [row[: row.index(eos) + 1] if eos in row else row for row in rows]


def _config(model: Any, collator: Any, generation: Generation, longest: int, scores: bool) -> GenerationConfig:
    tokenizer, limit = collator.processor.tokenizer, token_limit(model, generation.max_new_tokens, longest)
    settings = {**asdict(generation), "max_new_tokens": limit}
    return GenerationConfig(
        **settings,
        do_sample=False,
        min_length=0,
        num_return_sequences=1,
        use_cache=True,
        return_dict_in_generate=True,
        output_logits=scores,
        decoder_start_token_id=collator.start,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _readings(out: Any, tokenizer: Any, scores: bool) -> list[Reading]:
    tokens = out.sequences[:, 1:]  # behind the start token, which may be eos itself
    ends = tokens == tokenizer.eos_token_id
    valid = (ends.int().cumsum(1) - ends.int()) == 0  # up to the first eos and with it
    counts, finished = valid.sum(1).tolist(), ends.any(1).tolist()
    texts = decode_texts(tokenizer, [row[:n] for row, n in zip(tokens.tolist(), counts, strict=True)])
    mean, least = [float("nan")] * len(texts), [float("nan")] * len(texts)
    if scores:
        chances = _log_probs(out, tokens)
        mean = (chances.where(valid, 0.0).sum(1) / valid.sum(1).clamp(min=1)).tolist()
        least = chances.where(valid, 0.0).amin(1).exp().tolist()
    return [Reading(*parts) for parts in zip(texts, mean, least, counts, finished, strict=True)]


def _log_probs(out: Any, tokens: Tensor) -> Tensor:
    """[B, T] log-probabilities of the chosen tokens; the beam that each stood in is looked up."""
    beams = getattr(out, "beam_indices", None)
    rows = torch.arange(len(tokens), device=tokens.device)
    columns = []
    for step, logits in enumerate(out.logits[: tokens.shape[1]]):
        place = rows if beams is None else beams[:, step].clamp(min=0)
        columns.append(logits.float()[place].log_softmax(-1).gather(1, tokens[:, step : step + 1]))
    return torch.cat(columns, dim=1)
