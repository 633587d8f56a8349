"""A vision-encoder-decoder teacher as a reader of lines: the text of its best beam, and how sure it is of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from textkd.errors import fail


class BeamReader:
    """See `teacher_reader`. Called with images it gives (text, confidence) pairs."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        num_beams: int = 4,
        batch_size: int = 16,
        max_length: int | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        for name, number in (("num_beams", num_beams), ("batch_size", batch_size), ("max_length", max_length)):
            if number is not None and number < 1:
                raise fail(f"{name} {number} of a reading teacher", "not a number from 1", fix=f"{name}=1 or more")
        self.model, self.processor = model, processor
        self.num_beams, self.batch_size, self.autocast = num_beams, batch_size, autocast
        self.max_length = max_length or _longest(model)

    def __call__(self, images: Sequence[Image.Image]) -> list[tuple[str, float]]:
        with _evaluating(self.model), torch.no_grad():
            starts = range(0, len(images), self.batch_size)
            return [pair for start in starts for pair in self._read(images[start : start + self.batch_size])]

    def fingerprint(self) -> str:
        """sha256 of weights, configs, processor and settings."""
        digest = hashlib.sha256()
        tokenizer, pictures = self.processor.tokenizer, self.processor.image_processor
        configs = [self.model.config.to_dict(), self.model.generation_config.to_dict(), pictures.to_dict()]
        own = [self.num_beams, self.max_length, str(self.autocast)]
        settings = [configs, sorted(tokenizer.get_vocab().items()), own]
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def _read(self, images: Sequence[Image.Image]) -> list[tuple[str, float]]:
        device = next(self.model.parameters()).device
        pixels = self.processor(images=list(images), return_tensors="pt").pixel_values.to(device)
        with self._precision(device.type):
            states = self.model.encoder(pixel_values=pixels).last_hidden_state
            ids = self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                num_beams=self.num_beams,
                do_sample=False,
                max_length=self.max_length,
                return_dict_in_generate=False,
            )
            # one more pass of the decoder instead of the scores of every step, which `generate` keeps for all beams
            # and the whole vocabulary: gigabytes with 64 thousand tokens
            logits = self.model(encoder_outputs=(states,), decoder_input_ids=ids[:, :-1]).logits
        sure = self._confidence(logits, ids[:, 1:])
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [(text.strip(), one) for text, one in zip(texts, sure.tolist(), strict=True)]

    def _confidence(self, logits: Tensor, ids: Tensor) -> Tensor:
        """logits [B, T, V], ids [B, T] -> exp of the mean log-probability up to the end token and with it; [B]."""
        end = self.model.generation_config.eos_token_id
        ends = torch.isin(ids, torch.as_tensor(end, device=ids.device).reshape(-1))
        valid = ends.cumsum(1) - ends.long() == 0
        scores = logits.double().log_softmax(-1).gather(2, ids[..., None])[..., 0]
        mean = (scores * valid).sum(1) / valid.sum(1)
        return torch.where(ends.any(1), mean.exp(), 0.0)

    def _precision(self, device_type: str) -> contextlib.AbstractContextManager[object]:
        if self.autocast is None:
            return torch.autocast(device_type, enabled=False)  # a caller's autocast must not leak in
        return torch.autocast(device_type, dtype=self.autocast)


def teacher_reader(
    model: Any,
    processor: Any,
    num_beams: int = 4,
    batch_size: int = 16,
    max_length: int | None = None,
    autocast: torch.dtype | None = None,
) -> BeamReader:
    """A VisionEncoderDecoderModel and its processor as a reader: images -> [(text, confidence)].

    The text is that of the best beam (Kim & Rush 2016, arXiv:1606.07947). The confidence is the geometric mean of the
    probabilities that the model itself gives to the tokens of the text and to its end: exp(mean log p), 0..1. A text
    that has not ended after max_length tokens has confidence 0: it is cut off, or a loop. max_length: None: the
    generation config's, or the positions of the decoder. autocast: the dtype to compute in. The model runs in eval mode
    without gradient, every module's mode comes back. Raises `TextkdError` for numbers below 1 and for a model without
    an end token.
    """
    if getattr(model.generation_config, "eos_token_id", None) is None:
        fix = "model.generation_config.eos_token_id = processor.tokenizer.eos_token_id"
        raise fail("a teacher that reads lines", "its generation config has no eos_token_id", fix=fix)
    return BeamReader(model, processor, num_beams, batch_size, max_length, autocast)


def _longest(model: Any) -> int:
    positions = getattr(model.config.decoder, "max_position_embeddings", None)
    return int(getattr(model.generation_config, "max_length", None) or positions or 256)


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
