"""A vision-encoder-decoder teacher as a reader of lines: the text of its best beam, and how sure it is of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from textkd.errors import Collector, fail, problem
from textkd.models.forward import evaluating

Pixels = Callable[[Sequence[Image.Image]], Any]
VERSION = 2  # of how images become texts here
LONGEST = 256  # tokens; a text that runs on is a loop


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
        pixels: Pixels | None = None,
    ) -> None:
        for name, number, least in (("num_beams", num_beams, 1), ("batch_size", batch_size, 1),
                                    ("max_length", max_length, 2)):  # fmt: skip
            if number is not None and number < least:
                asked = f"{name} {number} of a reading teacher"
                raise fail(asked, f"not a number from {least}", fix=f"{name}={least} or more")
        self.model, self.processor = model, processor
        self.batch_size, self.autocast, self._pixels = batch_size, autocast, pixels or self._processed
        self._settings = _search(model, num_beams, max_length)

    def __call__(self, images: Sequence[Image.Image]) -> list[tuple[str, float]]:
        with _reading(self.model, self._settings), torch.no_grad():
            starts = range(0, len(images), self.batch_size)
            return [pair for start in starts for pair in self._read(images[start : start + self.batch_size])]

    def fingerprint(self) -> str:
        """sha256 of weights, configs, processor and settings."""
        digest = hashlib.sha256()
        tokenizer, pictures = self.processor.tokenizer, self.processor.image_processor
        configs = [self.model.config.to_dict(), self._settings.to_dict(), pictures.to_dict()]
        settings = [VERSION, configs, sorted(tokenizer.get_vocab().items()), str(self.autocast)]
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def _read(self, images: Sequence[Image.Image]) -> list[tuple[str, float]]:
        device = next(self.model.parameters()).device
        pixels = torch.as_tensor(self._pixels(images)).to(device)
        with self._precision(device.type):
            states = self.model.encoder(pixel_values=pixels).last_hidden_state
            outputs = BaseModelOutput(last_hidden_state=states)
            ids = self.model.generate(encoder_outputs=outputs)
            # one more pass of the decoder instead of the scores of every step, which `generate` keeps for all beams
            # and the whole vocabulary: gigabytes with 64 thousand tokens
            logits = self.model(encoder_outputs=(states,), decoder_input_ids=ids[:, :-1]).logits
        sure = self._confidence(logits, ids[:, 1:])
        # as texts are decoded to be judged: no space is moved
        texts = self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [(text.strip(), one) for text, one in zip(texts, sure.tolist(), strict=True)]

    def _processed(self, images: Sequence[Image.Image]) -> Any:
        return self.processor(images=list(images), return_tensors="pt").pixel_values

    def _confidence(self, logits: Tensor, ids: Tensor) -> Tensor:
        """logits [B, T, V], ids [B, T] -> exp of the mean log-probability up to the end token and with it; [B]."""
        end = torch.as_tensor(self._settings.eos_token_id, device=ids.device).reshape(-1)
        ends = torch.isin(ids, end)
        valid = ends.cumsum(1) - ends.long() == 0
        wide = logits.float() if logits.device.type == "mps" else logits.double()
        scores = wide.log_softmax(-1).gather(2, ids[..., None])[..., 0]
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
    pixels: Pixels | None = None,
) -> BeamReader:
    """A VisionEncoderDecoderModel and its processor as a reader: images -> [(text, confidence)].

    The text is that of the best beam (Kim & Rush 2016, arXiv:1606.07947). The confidence is the geometric mean of the
    probabilities that the model itself gives to the tokens of the text and to its end: exp(mean log p), 0..1. A text
    that has not ended after max_length tokens, the start token counted in, has confidence 0: it is cut off, or a loop.
    max_length None: 256, or the positions of the decoder where they are fewer. Of the model's own generation config
    only the special tokens count: its lengths and penalties are made for other uses. autocast: the dtype to compute in.
    pixels: images -> [B, channels, H, W] in place of the processor's own call.
    The model runs in eval mode without gradient, every module's mode comes back. Raises `TextkdError` for numbers that
    cannot be and for a model without start or end token.
    """
    return BeamReader(model, processor, num_beams, batch_size, max_length, autocast, pixels)


def _search(model: Any, num_beams: int, max_length: int | None) -> GenerationConfig:
    """Plain beam search with the special tokens of the model."""
    own = model.generation_config
    collector = Collector()
    for name in ("decoder_start_token_id", "eos_token_id"):
        if getattr(own, name) is None:
            found = f"its generation config has no {name}"
            fix = f"model.generation_config.{name} = the id of processor.tokenizer"
            collector.add(problem("a teacher that reads lines", found, fix=fix))
    collector.raise_any()
    positions = getattr(model.config.decoder, "max_position_embeddings", None) or LONGEST
    return GenerationConfig(
        num_beams=num_beams,
        max_length=max_length or min(positions, LONGEST),
        do_sample=False,
        decoder_start_token_id=own.decoder_start_token_id,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
    )


@contextlib.contextmanager
def _reading(model: Any, settings: GenerationConfig) -> Iterator[None]:
    """Eval mode, and `settings` in place of the model's own, which `generate` consults for all that is left open."""
    own, model.generation_config = model.generation_config, settings
    try:
        with evaluating(model):
            yield
    finally:
        model.generation_config = own
