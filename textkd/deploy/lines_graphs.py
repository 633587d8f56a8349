"""A reader of lines as two ONNX graphs: an encoder, and one step of its decoder with cached keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from textkd.errors import fail, said
from textkd.models.forward import positions
from textkd.models.onnx.graph import CLOSE, Sample, write_module

MOST_STEPS = 48  # of a comparison, step by step; the last position is compared apart
LONGEST = 1024  # tokens of it
BATCHES = (1, 2, 5)


def refuse_other(model: Any, asked: str) -> None:
    """Raises `TextkdError` where a model's decoder is none that can be exported.

    Args:
        model: a `VisionEncoderDecoderModel`.
        asked: for the message.
    """
    name = type(model.decoder).__name__
    if name != "TrOCRForCausalLM":
        fix = "export it as a plain folder (without --format onnx), or distil into a model with a TrOCR decoder"
        raise fail(asked, f"its decoder is a {name}: TrOCR decoders alone are exported", fix=fix)


class EncoderGraph(nn.Module):
    """Images to the keys and values that every layer of the decoder looks at: they are the same in each step.

    Args:
        model: a `VisionEncoderDecoderModel` with a TrOCR decoder.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.joint = getattr(model, "enc_to_dec_proj", None) if _is_joined(model) else None
        self.layers = model.decoder.model.decoder.layers

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Keys and values of each layer in turn: [B, heads, S, head]."""
        hidden = self.encoder(pixel_values=pixel_values, return_dict=True)["last_hidden_state"]
        if self.joint is not None:
            hidden = self.joint(hidden)
        sides = [(one.encoder_attn, side) for one in self.layers for side in ("k_proj", "v_proj")]
        return tuple(_heads(one, getattr(one, side)(hidden)) for one, side in sides)


class DecoderGraph(nn.Module):
    """Tokens to the logits behind the last of them, by the decoder's own modules.

    Args:
        model: a `VisionEncoderDecoderModel` with a TrOCR decoder.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.head = model.decoder.model.decoder, model.decoder.output_projection

    def forward(self, input_ids: Tensor, position: Tensor, cross: list[Tensor], past: list[Tensor]) -> Any:
        """One step.

        Args:
            input_ids: [B, T].
            position: [1], the number of tokens before them.
            cross: of the encoder.
            past: keys and values [B, heads, P, head] of each layer in turn, of the tokens before; P may be 0.

        Returns:
            Logits [B, V] behind the last token, then the keys and values of all tokens, [B, heads, P + T, head].
        """
        hidden = self.decoder.embed_tokens(input_ids) + self._places(input_ids, position)
        if self.decoder.layernorm_embedding is not None:
            hidden = self.decoder.layernorm_embedding(hidden)
        count, present = input_ids.shape[1], list[Tensor]()
        steps = torch.arange(count)
        seen = torch.arange(past[0].shape[2] + count)[None, :] <= position + steps[:, None]
        hidden_from = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        for i, layer in enumerate(self.decoder.layers):
            own = layer.self_attn
            keys = torch.cat([past[2 * i], _heads(own, own.k_proj(hidden))], dim=2)
            values = torch.cat([past[2 * i + 1], _heads(own, own.v_proj(hidden))], dim=2)
            present += [keys, values]
            hidden = layer.self_attn_layer_norm(hidden + _attended(own, hidden, keys, values, hidden_from))
            looked = _attended(layer.encoder_attn, hidden, cross[2 * i], cross[2 * i + 1])
            hidden = layer.encoder_attn_layer_norm(hidden + looked)
            hidden = layer.final_layer_norm(hidden + layer.fc2(layer.activation_fn(layer.fc1(hidden))))
        return (self.head(hidden[:, -1]), *present)

    def _places(self, input_ids: Tensor, position: Tensor) -> Tensor:
        """What tells a token's place, [B or 1, T, width]."""
        table = self.decoder.embed_positions
        if isinstance(table, nn.Embedding):
            found: Tensor = table(input_ids, position_ids=position + torch.arange(input_ids.shape[1]))
            return found
        numbers = table.create_position_ids_from_input_ids(input_ids, table.padding_idx, position)
        rows: Tensor = table.weights.index_select(0, numbers.view(-1)).view(*input_ids.shape, -1)
        return rows


def _is_joined(model: Any) -> bool:
    """Whether a layer stands between encoder and decoder: where their widths differ, and the decoder looks at its own
    width alone."""
    wide = model.encoder.config.hidden_size != model.decoder.config.hidden_size
    return wide and model.decoder.config.cross_attention_hidden_size is None


def _heads(attention: Any, flat: Tensor) -> Tensor:
    """[B, T, width] -> [B, heads, T, head]."""
    parts = flat.view(flat.shape[0], flat.shape[1], attention.num_heads, attention.head_dim)
    return parts.transpose(1, 2)


def _attended(attention: Any, hidden: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """What attention gives, [B, T, width]."""
    scores = _heads(attention, attention.q_proj(hidden) * attention.scaling) @ keys.transpose(2, 3)
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    found: Tensor = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
    return found


def write_graphs(model: Any, encoder: Path, decoder: Path) -> None:
    """Writes a reader as two ONNX files that share no weights.

    Args:
        model: in eval mode, float32, on the CPU.
        encoder: path of the first: pixel_values [B, C, H, W] -> cross_0 ... of `EncoderGraph`.
        decoder: of the second: input_ids, position, cross_0 ..., past_0 ... -> logits, present_0 ... of `DecoderGraph`.

    Raises:
        TextkdError: onnx or onnxscript is not installed, or torch cannot export the model.
    """
    layers = model.decoder.model.decoder.layers
    first, count = layers[0].self_attn, 2 * len(layers)
    asked = f"{type(model.encoder).__name__} and {type(model.decoder).__name__} as ONNX graphs"
    names = {what: [f"{what}_{i}" for i in range(count)] for what in ("cross", "past", "present")}
    dims = {name: torch.export.Dim(name, min=least) for name, least in DIMENSIONS.items()}
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, *image_of(model), generator=chance)
    write_module(
        EncoderGraph(model), Sample(("pixel_values",), (pixels,), ({0: dims["batch"]},), names["cross"]), encoder, asked
    )
    ids = torch.randint(model.decoder.config.vocab_size, (2, 3), generator=chance)
    cross, past = (
        [torch.randn(2, first.num_heads, length, first.head_dim, generator=chance) for _ in range(count)]
        for length in (5, 4)
    )
    shapes: tuple[Any, ...] = (
        {0: dims["batch"], 1: dims["tokens"]}, {}, [{0: dims["batch"], 2: dims["seen"]} for _ in cross],
        [{0: dims["batch"], 2: dims["past"]} for _ in past],
    )  # fmt: skip
    given = ("input_ids", "position", *names["cross"], *names["past"])
    sample = Sample(given, (ids, torch.tensor([4]), cross, past), shapes, ["logits", *names["present"]])
    write_module(DecoderGraph(model), sample, decoder, asked)


REPORT = "nothing was written; report it with the config.json"
DIMENSIONS = {"batch": 1, "tokens": 1, "seen": 1, "past": 0}


def image_of(model: Any) -> tuple[int, int, int]:
    """Channels, height and width of an image."""
    config = model.config.encoder
    side = config.image_size
    height, width = (side, side) if isinstance(side, int) else side
    return int(getattr(config, "num_channels", 3)), int(height), int(width)


def parity(model: Any, runtime: Any, batches: Sequence[int] = BATCHES) -> dict[str, Any]:
    """The largest difference between a model's logits and those of its graphs, on random images and tokens: step by
    step with cached keys, several tokens at once, and at the decoder's last position.

    Args:
        model: that was exported.
        runtime: a `Decoding` over both graphs.
        batches: numbers of images.

    Returns:
        {"largest_difference": of all logits, "largest_logit", "shapes": (images, tokens)}.

    Raises:
        TextkdError: a shape does not run.
    """
    chance, most = torch.Generator().manual_seed(1), positions(model)
    size, pad = model.decoder.config.vocab_size, model.decoder.config.pad_token_id
    few, worst, largest, tried = min(most, MOST_STEPS), 0.0, 0.0, list[list[int]]()
    for images in batches:
        pixels = torch.randn(images, *image_of(model), generator=chance)
        tokens = few if images != 1 else min(most, LONGEST)
        ids = torch.randint(size, (images, tokens), generator=chance)
        if pad is not None:  # all at once, sinusoidal positions leave it out; token by token they count it
            ids[ids == pad] = (pad + 1) % size
        with torch.no_grad():
            wanted = model(pixel_values=pixels, decoder_input_ids=ids, return_dict=True)["logits"].numpy()
        tried.append([images, tokens])
        try:
            found = dict(_steps(runtime, pixels.numpy(), ids.numpy(), few))
        except Exception as error:  # of onnxruntime, of whatever kind
            what = f"they fail on {images} images and {tokens} tokens: {said(error)}"
            raise fail("the exported graphs", what, fix=REPORT) from error
        worst = max(worst, *(float(np.abs(one - wanted[:, place]).max()) for place, one in found.items()))
        largest = max(largest, float(np.abs(wanted).max()))
    return {"largest_difference": worst, "largest_logit": largest, "shapes": tried}


def _steps(runtime: Any, pixels: Any, ids: Any, few: int) -> Any:
    """(place, logits [B, V]): of the first tokens one by one (of one image, its first three at once), then of the last
    two places."""
    state, count = runtime.begin(pixels), ids.shape[1]
    ends = list(range(min(few, 3) if len(ids) == 1 else 1, few + 1))
    ends += [end for end in (count - 1, count) if end > few]
    for start, end in zip([0, *ends], ends, strict=False):
        yield end - 1, runtime.step(state, ids[:, start:end])


def is_close(told: dict[str, Any]) -> bool:
    """Whether a difference is what float32 in another order makes."""
    return bool(told["largest_difference"] <= CLOSE * (1 + told["largest_logit"]))
