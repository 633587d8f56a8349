"""A teacher that computes its taps anew for every batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from textkd.errors import Collector, Problem, problem
from textkd.models.forward import forward_inputs
from textkd.models.taps import Capture
from textkd.teachers.half_precision import Narrow
from textkd.teachers.length_buckets import Pieces

PRECISIONS = ("auto", "bf16", "float32")
TORCH, INT8 = RUNTIMES = ("torch", "int8")


class Teacher(Protocol):
    """What gives a teacher's taps: `LiveTeacher`, `CachedTeacher`, or a class with the same two methods.

    `taps(batch, example_id)` gives the asked taps by address: `batch` holds the columns [B, ...], maybe more than the
    teacher takes; `example_id` [B] are row numbers, for teachers that look their taps up. `close()` ends the teacher.

    Example:
        >>> class Zeros:
        ...     def taps(self, batch, example_id=None):
        ...         return {"hidden:2": torch.zeros(*batch["input_ids"].shape, 8)}
        ...     def close(self):
        ...         pass
        >>> teacher: Teacher = Zeros()
        >>> teacher.taps({"input_ids": torch.ones(3, 5)})["hidden:2"].shape
        torch.Size([3, 5, 8])
    """

    def taps(self, batch: Mapping[str, Tensor], example_id: Tensor | None = None) -> Mapping[str, Tensor]: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class LiveOptions:
    """How a teacher is run beside the training.

    Args:
        precision: "auto" computes as the training does: in bf16 if that does and the hardware has it; "bf16" always;
            "float32" never (docs/live-teacher.md has the error).
        device: as "cuda:1", a device of its own, which works while the student's does; None: the student's.
        sharded: on several processes each keeps a share of the teacher on its device, and they gather it block by
            block. Off, each has it whole.
        runtime: "torch", or "int8": linear layers and embeddings compute in int8 through onnxruntime, on the CPU
            (docs/live-teacher.md has when that pays).

    Raises:
        TextkdError: another word for the precision or the runtime; a device that is not there; a sharded teacher with a
            device of its own; "int8" beside a precision, a device or shards.

    Example:
        >>> LiveOptions(precision="bf16").place(torch.device("cpu"))
        device(type='cpu')
    """

    precision: str = "auto"
    device: str | None = None
    sharded: bool = False
    runtime: str = TORCH

    def __post_init__(self) -> None:
        found = Collector()
        if self.precision not in PRECISIONS:
            asked, near = f"precision: {self.precision}", (str(self.precision), PRECISIONS)
            fix = f"one of {', '.join(PRECISIONS)}"
            found.add(problem(asked, "no such precision", near=near, fix=fix, where="precision"))
        if self.device is not None:
            found.add(*_device_problems(str(self.device)))
            if self.sharded:
                what = "its shards lie where the students are"
                found.add(
                    problem(f"device: {self.device} of a sharded teacher", what, fix="leave one out", where="device")
                )
        found.add(*self._runtime_problems())
        found.raise_any()

    @property
    def numbers(self) -> str:
        """What its numbers depend on: the precision, or that it computes in int8."""
        return INT8 if self.runtime == INT8 else self.precision

    def _runtime_problems(self) -> Iterator[Problem]:
        if self.runtime not in RUNTIMES:
            near, fix = (str(self.runtime), RUNTIMES), f"one of {', '.join(RUNTIMES)}"
            yield problem(f"runtime: {self.runtime}", "no such runtime", near=near, fix=fix, where="runtime")
        if self.runtime != INT8:
            return
        for name in ("precision", "device", "sharded"):
            if (value := getattr(self, name)) not in ("auto", None, False, "cpu"):
                what = "it computes in int8, in this process, on the CPU"
                yield problem(f"{name}: {value} beside runtime: int8", what, fix="leave one out", where=name)

    def place(self, students: torch.device) -> torch.device:
        """Where the teacher runs.

        Args:
            students: the device of the models that learn.
        """
        return students if self.device is None else torch.device(self.device)


class LiveTeacher:
    """Runs `model` in eval mode under no_grad, only as far as the last tap that somebody asked for.

    Gradient taps run the blocks above them with a graph, for one backward. The model's modes come back with `close`;
    its parameters are never touched.

    Args:
        model: the teacher. It may be on another device than the batches.
        addresses: the taps to read, as in `textkd.models.taps.Address.parse`.
        autocast: the dtype to compute in; weights are cast to it once. None: the model's own.
        stop_early: False runs the model to its end.
        in_pieces: on a CPU, rows of unlike length run in pieces of like length (taps at padding are 0 then).

    Raises:
        TextkdError: with every address that the model does not have.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> teacher = LiveTeacher(BertModel(BertConfig(num_hidden_layers=4, **sizes)), ["hidden:2"])
        >>> teacher.taps({"input_ids": torch.ones(3, 5, dtype=torch.long)})["hidden:2"].shape
        torch.Size([3, 5, 8])
        >>> teacher.close()
    """

    def __init__(
        self,
        model: nn.Module,
        addresses: Sequence[str],
        autocast: torch.dtype | None = None,
        stop_early: bool = True,
        in_pieces: bool = True,
    ) -> None:
        self.model = model
        self.autocast = autocast
        self._training = [module for module in model.modules() if module.training]
        model.eval()
        self._accepts = forward_inputs(model) - {"labels"}
        self._run = model if autocast is None else Narrow(model, autocast)
        self._capture = Capture(model, list(addresses), stop_early=stop_early)
        self._pieces = Pieces(self._capture.addresses, in_pieces)

    def taps(self, batch: Mapping[str, Tensor], example_id: Tensor | None = None) -> Mapping[str, Tensor]:
        """The asked taps of `batch` by address, without gradient, on the device of the batch.

        Args:
            batch: the columns, [B, ...]. It may hold more than the teacher takes; ``labels`` are for gradient taps.
            example_id: not looked at here; for teachers that look their taps up.

        Raises:
            TextkdError: a tap is missing or empty.
        """
        device, home = next(self.model.parameters()).device, next(iter(batch.values())).device
        inputs = {k: v.to(device, non_blocking=True) for k, v in batch.items() if k in self._accepts}
        with torch.no_grad(), self._precision(device.type):
            taps = self._pieces.run(self._read, inputs) if device.type == "cpu" else None
            if taps is None:
                taps = self._capture.run(self._run, tap_labels=batch.get("labels"), **inputs)["taps"]
        return taps if device == home else Elsewhere(taps, home)

    def _read(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._capture.run(self._run, **inputs)["taps"]

    def _precision(self, device_type: str) -> contextlib.AbstractContextManager[object]:
        if self.autocast is None:
            # the caller's autocast (the student's) must not leak in, nor its cache of cast weights
            return torch.autocast(device_type, enabled=False)
        return torch.autocast(device_type, dtype=self.autocast)

    def close(self) -> None:
        """Takes the hooks off and gives every module the mode it came with."""
        self._capture.remove()
        for module in self._training:
            module.training = True


class Elsewhere(Mapping[str, Tensor]):
    """Taps of another device, each brought to `home` when it is first read: until then the teacher's device can work
    while the student's does."""

    def __init__(self, taps: dict[str, Tensor], home: torch.device) -> None:
        self._taps, self._home = taps, home

    def __getitem__(self, name: str) -> Tensor:
        self._taps[name] = self._taps[name].to(self._home, non_blocking=self._home.type != "cpu")
        return self._taps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._taps)

    def __len__(self) -> int:
        return len(self._taps)


def _device_problems(name: str) -> list[Problem]:
    asked, fix = f"device: {name}", "leave it out: the teacher runs beside the student"
    try:
        device = torch.device(name)
    except RuntimeError:
        return [problem(asked, "no name of a device", fix=f'as "cuda:1", or {fix}', where="device")]
    if device.type == "cpu":
        return []
    here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if here is None or here.type != device.type:
        what = f"this machine has {'no accelerator' if here is None else f'{here.type} devices only'}"
        return [problem(asked, what, fix=fix, where="device")]
    count = torch.accelerator.device_count()
    if (device.index or 0) >= count:
        what = f"this machine has {count}, numbered from 0"
        return [problem(asked, what, fix=f"{device.type}:{count - 1} or lower, or {fix}", where="device")]
    return []
