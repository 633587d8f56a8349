"""What a model offers, measured by running it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textkd.errors import fail
from textkd.taps.address import Address
from textkd.taps.anatomy import Anatomy, anatomy
from textkd.taps.capture import Capture

_PRIMES = (5, 7, 11, 13, 17, 19, 23)
_NOTES = {
    "labels": "the task's own loss; needs labels in the batch",
    "embeddings": "output of the embedding module",
    "ffn": "before the activation",
    "attention": "probabilities before dropout",
    "scores": "scaled, without mask",
    "pooled": "output of the pooler",
}


class TapRow(NamedTuple):
    """One line of `textkd ls taps`: address, shape such as "[B, T, 384]", note."""

    address: str
    shape: str
    note: str


def list_taps(model: nn.Module) -> list[TapRow]:
    """Every tap of `model` with its shape, from one forward of a dummy batch. B: rows, T: tokens.

    Leaves the model's mode, hooks and the random state as they were. `module:<path>` reaches everything else.
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
            rows.append(TapRow(address, _shape(taps[address], symbols), _note(found, Address.parse(address))))
    return rows


def _measure(model: nn.Module, addresses: list[str], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    # a pretraining head returns logits under other names, so first see whether they are there
    probe = Capture(model, [next(address for address in addresses if address != "logits")])
    try:
        outputs = probe.run(model, **batch)["outputs"]
    finally:
        probe.remove()
    capture = Capture(model, [address for address in addresses if address != "logits" or "logits" in outputs])
    try:
        return capture.run(model, **batch)["taps"]
    finally:
        capture.remove()


def _dummy(found: Anatomy) -> tuple[dict[str, Tensor], dict[int, str]]:
    config: Any = found.config
    if found.plan is None:
        raise fail(
            f"the taps of {type(found.model).__name__}",
            f'the architecture "{found.model_type}" is not known',
            fix="logits and module:<path> work on any model",
        )
    device = next(found.model.parameters()).device
    if getattr(found.base, "main_input_name", "input_ids") == "pixel_values":
        size = config.image_size if isinstance(config.image_size, list | tuple) else [config.image_size] * 2
        return {"pixel_values": torch.zeros(2, config.num_channels, *size, device=device)}, {}
    # a length that no width of this model has, so that a T in the printed shape is a T
    taken = {value for value in vars(config).values() if isinstance(value, int)} | {
        config.hidden_size // config.num_attention_heads
    }
    length = next(prime for prime in _PRIMES if prime not in taken)
    ids = torch.ones(2, length, dtype=torch.long, device=device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, {length: "T"}


def _shape(tap: Tensor, symbols: dict[int, str]) -> str:
    return f"[{', '.join(['B', *(symbols.get(size, str(size)) for size in tap.shape[1:])])}]"


def _note(found: Anatomy, address: Address) -> str:
    special = found.plan.notes.get(address.kind, "") if found.plan else ""
    if address.kind == "hidden":
        where = f"output of block {address.block}" if address.block else "input of block 1"
        return f"{where}, {special}" if special and address.block == found.num_blocks else where
    return special or _NOTES.get(address.kind, "")
