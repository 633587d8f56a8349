"""The only file that knows transformers' Trainer: a thin mixin that computes the objective, and safe checkpoints."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from textkd.callbacks import LogAtSave
from textkd.checkpoints import disk_is_full, last_checkpoint
from textkd.errors import Problem, TextkdError, fail, problem
from textkd.objective import Objective
from textkd.taps import Capture
from textkd.teachers import LiveTeacher, forward_inputs

# textkd's own defaults; everything else is transformers'. Means are logged at every save, so a resumed run logs the same
DEFAULTS: dict[str, Any] = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "logging_steps": 20,
    "train_sampling_strategy": "group_by_length",
    "per_device_eval_batch_size": 64,
}
# textkd decides these: columns go by each model's signature, a NaN stops the run, and one run has one folder
RESERVED = {"remove_unused_columns": False, "logging_nan_inf_filter": False, "label_names": ["labels"]}


def check_arguments(training: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a `training:` block: names that TrainingArguments lacks or textkd sets itself."""
    known = {f.name for f in fields(TrainingArguments) if f.init}
    problems = []
    for name in training:
        if name in RESERVED:
            problems.append(problem(f"{name}: {training[name]}", "textkd sets this itself", fix="leave it out", where=name))
        elif name not in known:
            problems.append(problem(name, "TrainingArguments has no such argument", near=(name, known), where=name,
                                    fix="a name of transformers.TrainingArguments"))  # fmt: skip
    if not problems:
        try:
            make_arguments(training, "unused")
        except TextkdError as error:
            problems += error.problems
    return problems


def make_arguments(training: Mapping[str, Any], output_dir: str | Path, **forced: Any) -> TrainingArguments:
    """TrainingArguments with textkd's defaults under the user's `training`; `forced` wins over both."""
    values = {**DEFAULTS, **training, **RESERVED, **forced, "output_dir": str(output_dir)}
    values.setdefault("dataloader_pin_memory", torch.cuda.is_available())
    values.setdefault("use_cpu", not torch.accelerator.is_available())  # bf16 on a CPU has to be asked for like this
    if values.get("bf16") == "auto":
        values["bf16"] = has_bf16()
    try:
        return TrainingArguments(**values)
    except (ValueError, TypeError, ImportError) as error:
        raise fail("training arguments", str(error).split("\n")[0], fix="see transformers.TrainingArguments") from error


def has_bf16() -> bool:
    """Whether this machine computes bf16 faster than float32: a GPU that knows it, or a CPU with avx512_bf16 or amx."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(name in flags.read_text() for name in ("avx512_bf16", "amx_bf16", " bf16 "))


class DistilMixin(Trainer):  # type: ignore[misc]
    """Trainer whose loss is an `Objective` over the taps of student and teacher; without a teacher, over labels alone.

    The student stays a PreTrainedModel with inert hooks (`Capture`), so saving, resuming and generation are Trainer's
    own. Evaluation never runs the teacher. Named parts are summed on the device and averaged when Trainer logs.
    """

    # our loss is the mean of one micro-batch; BERT's **kwargs would make Trainer believe it is scaled already
    loss_is_scaled_for_ga = False

    def __init__(self, *args: Any, objective: Objective, capture: Capture, teacher: LiveTeacher | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False
        self.objective, self.capture, self.teacher = objective, capture, teacher
        self._accepts = forward_inputs(self.model)
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._expected: Tensor | None = None
        self._started = time.monotonic()
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        self.add_callback(LogAtSave())

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], None]:
        """The micro-batches of one step, and (for the objective) the mean items per micro-batch over all ranks."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._expected = None
        if batches and (len(batches) > 1 or self.args.world_size > 1):
            items = torch.stack([self.objective.items(batch) for batch in batches]).mean(0).to(device)
            self._expected = self.accelerator.reduce(items, "mean") if self.args.world_size > 1 else items
        return batches, None

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> None:
        return None  # the objective counts its own items

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        wanted = {name: value for name, value in inputs.items() if name in self._accepts}
        if not model.training:
            outputs = model(**wanted)
            return (outputs["loss"], outputs) if return_outputs else outputs["loss"]
        wanted.pop("labels", None)
        teacher = self.teacher.taps(inputs, inputs.get("example_id")) if self.teacher is not None else {}
        with self.capture.active():
            student = model(**wanted)
        progress = self.state.global_step / max(self.state.max_steps, 1)
        total, parts = self.objective(student["taps"], teacher, inputs, progress, self._expected)
        if not torch.isfinite(total):
            raise self._not_finite(parts)
        for name, value in parts.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._summed += 1
        return (total, student["outputs"]) if return_outputs else total

    def _not_finite(self, parts: Mapping[str, Tensor]) -> Exception:
        bad = [name for name, value in parts.items() if not torch.isfinite(value)]
        last = last_checkpoint(self.args.output_dir)
        return fail(
            f"step {self.state.global_step + 1} of {self.state.max_steps}",
            f"the loss is not finite; parts: {', '.join(bad) or 'their weighted sum'}",
            fix=f"lower the learning rate or the part's weight, or train in float32; last good checkpoint: {last or 'none yet'}",
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._summed:
            names = sorted(self._sums)
            means = torch.stack([self._sums[name].float() for name in names]) / self._summed
            if self.args.world_size > 1:
                means = self.accelerator.reduce(means, "mean")
            logs.update(zip(names, means.tolist(), strict=True))
            logs["seconds"] = round(self.seconds(), 3)
            self._sums, self._summed = {}, 0
        super().log(logs, start_time)

    def seconds(self) -> float:
        """Training seconds so far, those before a resume counted in."""
        before = getattr(self, "_seconds_before", None)
        if before is None:
            before = max((entry.get("seconds", 0.0) for entry in self.state.log_history), default=0.0)
            self._seconds_before = before
        return before + time.monotonic() - self._started

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        data = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return _SeededLengthSampler(size, list(data[self.args.length_column_name]), seed)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Trainer's checkpoint; a failed one is removed, and weights that are not finite are never saved."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
            raise self._not_finite({"the weights": torch.tensor(float("nan"))})
        try:
            super()._save_checkpoint(model, trial)
        except Exception as error:
            if not disk_is_full(error, folder.parent):
                raise
            shutil.rmtree(folder, ignore_errors=True)
            last = last_checkpoint(self.args.output_dir)
            raise fail(f"save {folder}", "no space left on the disk",
                       fix=f"free some space and run the same command again; last good checkpoint: {last or 'none yet'}") from error  # fmt: skip


class DistilTrainer(DistilMixin, Trainer):
    """`DistilMixin` on transformers' Trainer."""


class _SeededLengthSampler(LengthGroupedSampler):  # type: ignore[misc]
    """Length-grouped batches in an order that depends on seed and epoch alone, so that a resumed run sees the same."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        self.generator.manual_seed(self.seed * 100_003 + self.epoch)
        return super().__iter__()


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
