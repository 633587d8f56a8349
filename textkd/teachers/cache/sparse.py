"""Logits of which a part is kept. They come back dense, as log-probability-like numbers: softmax(. / temperature) is
the kept distribution exactly, and finite everywhere, so that a KL divergence over all classes is defined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textkd.errors import fail
from textkd.teachers.cache.options import MOST_KEPT

NEVER = -1e4  # softmax gives such a class 0 at every usual temperature


class Likeliest:
    """The likeliest classes of every position: k of them, or as many as have the probability `mass` together, at most
    k. Kept: T log softmax(z / T) of these, and the rest of the probability as one number, which comes back spread
    evenly over all other classes: what is kept and the rest have their exact shares at the temperature T.
    """

    def __init__(self, k: int | None, mass: float | None, temperature: float) -> None:
        self.k, self.mass, self.temperature = k or MOST_KEPT, mass, temperature
        self.name = f"top{self.k}" + ("" if mass is None else f",mass{mass:g}") + f",T{temperature:g}"

    def prepare(self, tap: Tensor) -> Tensor:
        return tap

    def encode(self, sample: Tensor, key: int) -> dict[str, Tensor]:
        classes = sample.shape[-1]
        soft = _logits(sample, classes).div(self.temperature).log_softmax(-1)
        values, ids = soft.topk(min(self.k, classes), dim=-1)
        kept = torch.ones_like(ids, dtype=torch.bool)
        if self.mass is not None:  # a class is kept where those before it have not the mass yet
            shares = values.double().exp()
            kept = shares.cumsum(-1) - shares < self.mass
        rest = soft.scatter(-1, ids, torch.where(kept, -torch.inf, values)).logsumexp(-1)
        others = (classes - kept.sum(-1)).clamp(min=1)
        tail = ((rest - others.log()) * self.temperature).clamp(min=NEVER)
        values = (values * self.temperature).clamp(min=NEVER)
        if self.mass is None:
            return {"ids": _small(ids, classes), "values": values.reshape(-1).cpu(), "tail": tail.reshape(-1).cpu()}
        return {
            "ids": _small(ids[kept], classes), "values": values[kept].cpu(), "tail": tail.reshape(-1).cpu(),
            "counts": kept.sum(-1).to(torch.int16).reshape(-1).cpu(),
        }  # fmt: skip

    def decode(self, parts: Mapping[str, NDArray[Any]], out: NDArray[Any]) -> None:
        flat = _flat(out, len(parts["tail"]))
        flat[:] = parts["tail"][:, None]
        _spread(flat, parts, parts["values"])


class Drawn:
    """Classes drawn `count` times from softmax(z / T) with replacement, and how often each was drawn: the shares are an
    unbiased estimate of the distribution at the temperature T (random sampling; Anshumann et al. 2025,
    arXiv:2503.16870), and so is the gradient of a cross-entropy or a KL from teacher to student; the reverse KL of a
    distribution with zeros is not. What was never drawn has probability 0. A sample is always drawn alike.
    """

    def __init__(self, count: int, temperature: float) -> None:
        self.count, self.temperature = count, temperature
        self.name = f"drawn{count},T{temperature:g}"

    def prepare(self, tap: Tensor) -> Tensor:
        return tap

    def encode(self, sample: Tensor, key: int) -> dict[str, Tensor]:
        classes = sample.shape[-1]
        shares = _logits(sample, classes).div(self.temperature).softmax(-1).cpu()
        generator = torch.Generator().manual_seed(key & (2**63 - 1))
        drawn = torch.multinomial(shares, self.count, replacement=True, generator=generator)
        rows = torch.arange(len(shares))[:, None] * classes
        places, times = torch.unique(drawn + rows, return_counts=True)
        return {
            "ids": _small(places % classes, classes), "times": times.to(torch.int16),
            "counts": torch.bincount(places // classes, minlength=len(shares)).to(torch.int16),
        }  # fmt: skip

    def decode(self, parts: Mapping[str, NDArray[Any]], out: NDArray[Any]) -> None:
        flat = _flat(out, len(parts["counts"]))
        flat.fill(NEVER)
        times = torch.from_numpy(parts["times"]).float()
        _spread(flat, parts, ((times / self.count).log() * self.temperature).numpy())


def _logits(sample: Tensor, classes: int) -> Tensor:
    """[N, C]; a sample of [B, C] logits is one row."""
    if classes < 2:
        raise fail("the likeliest classes of logits", "one output: a regression", fix="logits: dense")
    return sample.reshape(-1, classes).float()


def _flat(out: NDArray[Any], positions: int) -> NDArray[Any]:
    """`out` [..., C] as [positions, C], never a copy."""
    flat: NDArray[Any] = torch.from_numpy(out).view(positions, -1).numpy()
    return flat


def _spread(flat: NDArray[Any], parts: Mapping[str, NDArray[Any]], values: NDArray[Any]) -> None:
    ids, positions = parts["ids"], len(flat)
    counts = parts["counts"] if "counts" in parts else len(ids) // positions
    flat[np.arange(positions).repeat(counts), ids] = values


def _small(ids: Tensor, classes: int) -> Tensor:
    return ids.reshape(-1).to(torch.int16 if classes <= 2**15 else torch.int32).cpu()
