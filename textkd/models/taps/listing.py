"""What a model offers, measured by running it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textkd.errors import fail
from textkd.models.taps.address import GRADIENT_KINDS, HEAD_KINDS, Address
from textkd.models.taps.anatomy import Anatomy
from textkd.models.taps.capture import Capture
from textkd.models.taps.sides import EncoderDecoder, anatomy

_PRIMES = (5, 7, 11, 13, 17, 19, 23)
_NOTES = {
    "labels": "the task's own loss; needs labels in the batch",
    "embeddings": "output of the embedding module",
    "ffn": "before the activation",
    "gradient": "of the true class's logit by hidden, needs labels",
    "loss_gradient": "of the task's loss by hidden, needs labels",
    "attention": "probabilities before dropout",
    "scores": "scaled, without mask",
    "pooled": "output of the pooler",
    "head_input": "what goes into the layer that makes the logits",
    "cross_attention": "over the encoder's tokens, before dropout",
    "cross_scores": "over the encoder's tokens, scaled, without mask",
    "cross_key": "of the encoder's tokens",
    "cross_value": "of the encoder's tokens",
}


class TapRow(NamedTuple):
    """One line of `textkd ls taps`.

    Args:
        address: as in `Address.parse`.
        shape: such as "[B, T, 384]".
        note: what a reader should know of the tap; "" where there is nothing.

    Example:
        >>> TapRow("hidden:4", "[B, T, 384]", "output of block 4").shape
        '[B, T, 384]'
    """

    address: str
    shape: str
    note: str


def list_taps(model: nn.Module) -> list[TapRow]:
    """Every tap of a model with its shape, from one forward of a dummy batch.

    It leaves the model's mode, hooks and the random state as they were. `module:<path>` reaches everything else.

    Args:
        model: unwrapped, of an architecture in `PLANS`.

    Returns:
        Rows whose shapes have B for rows, T for tokens (of the target, in a decoder), S for tokens of an encoder that
        is not there.

    Raises:
        TextkdError: the architecture is not known.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> for row in list_taps(BertModel(BertConfig(num_hidden_layers=1, **sizes)))[:3]:
        ...     print(row.address, row.shape, row.note, sep="; ")
        embeddings; [B, T, 8]; output of the embedding module
        hidden:0; [B, T, 8]; input of block 1
        hidden:1; [B, T, 8]; output of block 1
    """
    found = anatomy(model)
    addresses = [address for address in found.addresses() if address != "labels"]
    rows = [TapRow("labels", "[]", _NOTES["labels"])] if len(addresses) < len(found.addresses()) else []
    batch, symbols = _dummy(found)
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        taps = _measure(model, addresses, batch)
    for address in addresses:
        if address in taps:
            one = Address.parse(address)
            rows.append(TapRow(address, _shape(taps[address], symbols), _note(found.on(one), one)))
    return rows


def _measure(model: nn.Module, addresses: list[str], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    # a pretraining head returns logits under other names, so first see whether they are there
    probe = Capture(model, [next((address for address in addresses if address not in HEAD_KINDS), "logits")])
    try:
        outputs = probe.run(model, **batch)["outputs"]
    finally:
        probe.remove()
    logits = outputs.get("logits")
    of_logits = ("logits", *GRADIENT_KINDS)
    offered = [address for address in addresses if logits is not None or Address.parse(address).kind not in of_logits]
    capture = Capture(model, offered)
    try:
        return capture.run(model, tap_labels=None if logits is None else _labels(model, logits), **batch)["taps"]
    finally:
        capture.remove()


def _labels(model: nn.Module, logits: Tensor) -> Tensor:
    """Labels that fit: the first class everywhere, or zeros to regress to."""
    regression = getattr(getattr(model, "config", None), "problem_type", None) == "regression"
    return logits.new_zeros(logits.shape) if regression else logits.new_zeros(logits.shape[:-1], dtype=torch.long)


def _dummy(found: Anatomy) -> tuple[dict[str, Tensor], dict[int, str]]:
    if isinstance(found, EncoderDecoder):
        encoder, decoder = found.sides["encoder"], found.sides["decoder"]
        (length,) = _lengths(1, encoder, decoder)
        return {**_pixels(encoder), "decoder_input_ids": _ids(found, length)}, {length: "T"}
    if found.plan is None:
        raise fail(
            f"the taps of {type(found.model).__name__}",
            f'the architecture "{found.model_type}" is not known',
            fix="logits and module:<path> work on any model",
        )
    if getattr(found.base, "main_input_name", "input_ids") == "pixel_values":
        return _pixels(found), {}
    length, memory = _lengths(2, found)
    ids = _ids(found, length)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if not found.plan.cross:
        return batch, {length: "T"}
    width = getattr(found.config, "cross_attention_hidden_size", None) or found.hidden_size
    batch["encoder_hidden_states"] = torch.zeros(2, memory, width, device=ids.device)
    return batch, {length: "T", memory: "S"}


def _pixels(found: Anatomy) -> dict[str, Tensor]:
    config = found.config
    return {"pixel_values": torch.zeros(2, config.num_channels, *_pair(config.image_size), device=_device(found))}


def _ids(found: Anatomy, length: int) -> Tensor:
    return torch.ones(2, length, dtype=torch.long, device=_device(found))


def _device(found: Anatomy) -> torch.device:
    return next(found.model.parameters()).device


def _lengths(count: int, *parts: Anatomy) -> list[int]:
    """Lengths that no axis of this model has, so that a T in the printed shape is a T."""
    taken: set[int] = set()
    for part in parts:
        taken |= {value for value in vars(part.config).values() if isinstance(value, int)}
        taken |= {part.num_heads, part.hidden_size, part.hidden_size // part.num_heads}
        if hasattr(part.config, "patch_size"):
            sizes, patches = _pair(part.config.image_size), _pair(part.config.patch_size)
            tokens = (sizes[0] // patches[0]) * (sizes[1] // patches[1])
            taken |= {tokens, tokens + 1, tokens + 2}  # with a class token, with a distillation token
    return [prime for prime in _PRIMES if prime not in taken][:count]


def _pair(size: Any) -> tuple[int, int]:
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))


def _shape(tap: Tensor, symbols: dict[int, str]) -> str:
    return f"[{', '.join(['B', *(symbols.get(size, str(size)) for size in tap.shape[1:])])}]"


def _note(found: Anatomy, address: Address) -> str:
    special = found.plan.notes.get(address.kind, "") if found.plan else ""
    if address.kind == "hidden":
        where = f"output of block {address.block}" if address.block else "input of block 1"
        return f"{where}, {special}" if special and address.block == found.num_blocks else where
    return special or _NOTES.get(address.kind, "")
