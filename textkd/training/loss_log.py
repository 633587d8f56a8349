"""The loss and its named parts of every step since the last log, kept on the device and read once per log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


class LossRecord(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Rows of [total, *parts], one per optimizer step, and the seconds trained.

    Both travel in the checkpoints: a resumed run logs the same means as an unbroken one, wherever it was cut.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.saved: dict[str, Any] = {}
        self._rows: list[Tensor] = []
        self._open: Tensor | None = None
        self._before, self._started = 0.0, time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        saved = state.stateful_callbacks.get(type(self).__name__, {}).get("attributes", {})
        self.names = list(saved.get("names", []))
        self._rows = [torch.tensor(row, device=args.device) for row in saved.get("rows", [])]
        self._before, self._started = saved.get("seconds", 0.0), time.monotonic()

    def begin_step(self) -> None:
        """What is added from here on belongs to a new optimizer step."""
        if self._open is not None:
            self._rows.append(self._open)
            self._open = None

    def add(self, total: Tensor, parts: Mapping[str, Tensor], micro_batches: int) -> None:
        """One micro-batch of a step that has `micro_batches`."""
        self.names = list(parts)
        row = torch.stack([total.detach().float(), *(part.detach().float() for part in parts.values())]) / micro_batches
        self._open = row if self._open is None else self._open + row

    def rows(self, reduce: Callable[[Tensor], Tensor]) -> Tensor | None:
        """[steps, 1 + parts] since the last `clear`, through `reduce` (the mean over processes), or None."""
        self.begin_step()
        return reduce(torch.stack(self._rows)) if self._rows else None

    def clear(self) -> None:
        self._rows = []

    def seconds(self) -> float:
        """Training seconds so far, those before a resume counted in."""
        return self._before + time.monotonic() - self._started

    def prepare(self, rows: Tensor | None) -> None:
        """Says what the checkpoint that is about to be written holds."""
        kept = [] if rows is None else rows.tolist()
        self.saved = {"names": self.names, "rows": kept, "seconds": self.seconds()}

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": self.saved}

    def not_finite(self, rows: Tensor) -> tuple[int, list[str]] | None:
        """The first of `rows` that is not finite and its parts that are not; None where all are finite."""
        bad = ~torch.isfinite(rows)
        if not bool(bad.any()):
            return None
        first = int(bad.any(1).nonzero()[0])
        return first, [name for name, one in zip(self.names, bad[first, 1:].tolist(), strict=True) if one]


def history(log_history: list[dict[str, Any]], parts: list[str], stage: int) -> list[dict[str, Any]]:
    """Trainer's log as rows {"step", "epoch", "stage", "loss", "parts", "eval"}, one per logged step."""
    rows: dict[int, dict[str, Any]] = {}
    for entry in log_history:
        row = rows.setdefault(entry["step"], {"step": entry["step"], "epoch": entry.get("epoch"), "stage": stage})
        if "loss" in entry:
            row["loss"] = entry["loss"]
            row["parts"] = {name: entry[name] for name in parts if name in entry}
        measured = {k.removeprefix("eval_"): v for k, v in entry.items() if k.startswith("eval_")}
        if measured:
            row["eval"] = {k: v for k, v in measured.items() if not k.endswith(("runtime", "per_second"))}
    return [row for row in rows.values() if "loss" in row or "eval" in row]
