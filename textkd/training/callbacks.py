"""What textkd adds to transformers' Trainer from outside: a progress bar, clean log boundaries, a polite stop."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback

console = Console(stderr=True)


class Boundaries(TrainerCallback):  # type: ignore[misc]
    """Order at the ends of epochs and trainings, so that a checkpoint always holds everything up to its step.

    Means are logged with every scheduled checkpoint and at the last step. A checkpoint at an epoch's last step waits
    for the epoch's evaluation. A training that resumes after its last step does nothing again.
    """

    def __init__(self) -> None:
        self._stepped = self._owed = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self._stepped = True
        if control.should_save and args.eval_strategy == "epoch" and _ends_epoch(state, control):
            control.should_save, self._owed = False, True
        control.should_log = control.should_log or control.should_save or state.global_step >= state.max_steps
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if not self._stepped:
            control.should_evaluate = control.should_save = control.should_log = False
        control.should_save = control.should_save or self._owed
        control.should_log = control.should_log or control.should_save
        self._owed = False
        return control


class Epochs(TrainerCallback):  # type: ignore[misc]
    """Tells a data set that augments its rows which epoch it is, also in a run that resumes within one."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(int(state.epoch or 0))


class StopOnSignal(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C or SIGTERM ends the run after the step under way, with a checkpoint. A second one ends it at once.

    Use as a context manager around training; `fired` is the signal's number or None. On several processes all stop at
    the same step, a few steps later: asking each other costs a synchronisation.
    """

    EVERY = 5

    def __init__(self) -> None:
        self.fired: int | None = None
        self._midway = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        try:
            self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: whoever runs us there handles signals
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.fired is not None:
            raise KeyboardInterrupt
        self.fired = number
        console.print("stopping after this step, with a checkpoint (again to stop at once)")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if args.world_size > 1:
            self._ask_others(args, state)
            if state.global_step % self.EVERY:
                return control
        if self.fired is not None and not _ends_epoch(state, control):
            # no log: the means since the last one travel in the checkpoint
            control.should_save = control.should_training_stop = self._midway = True
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self._midway:  # the epoch did not end, the checkpoint is written
            control.should_evaluate = control.should_save = control.should_log = False
        elif self.fired is not None and args.world_size == 1:
            control.should_save = control.should_log = control.should_training_stop = True
        return control

    def _ask_others(self, args: Any, state: Any) -> None:
        if state.global_step % self.EVERY == 0:
            fired = torch.tensor(self.fired or 0, device=args.device)
            torch.distributed.all_reduce(fired, torch.distributed.ReduceOp.MAX)
            self.fired = int(fired) or None


def _ends_epoch(state: Any, control: Any) -> bool:
    """Whether this step is its epoch's or the training's last; what is due at its end comes after the evaluation."""
    return bool(control.should_training_stop) or float(state.epoch).is_integer()


class Bar(TrainerCallback):  # type: ignore[misc]
    """One progress bar per training: steps, loss, time left. On no terminal, a line per evaluation and, between them,
    one every `EVERY_S` seconds."""

    EVERY_S = 60.0

    def __init__(self, label: str, metric: str) -> None:
        self.label, self.metric = label, metric
        self._begun = self._told = (0, 0.0)  # step, time: of this training, of the last line
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[news]}"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: Any = None
        self._news = {"loss": "", self.metric: ""}

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._task = self.progress.add_task(self.label, total=state.max_steps, completed=state.global_step, news="")
            self._begun = self._told = (state.global_step, time.monotonic())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._task is None:
            return
        self.progress.update(self._task, completed=state.global_step)
        if time.monotonic() - self._told[1] >= self.EVERY_S:
            step, begun = self._begun
            each = (time.monotonic() - begun) / (state.global_step - step)
            self._tell(state, f"about {_duration(each * (state.max_steps - state.global_step))} left")

    def _tell(self, state: Any, more: str = "") -> None:
        """A line, where there is no bar."""
        self._told = (state.global_step, time.monotonic())
        if not console.is_terminal:
            news = ", ".join(filter(None, [*self._news.values(), more]))
            console.print(f"{self.label}: step {state.global_step} of {state.max_steps}, {news}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if self._task is None or not logs:
            return
        measured = logs.get(f"eval_{self.metric}")
        if "loss" in logs:
            self._news["loss"] = f"loss {logs['loss']:.4f}"
        if measured is not None:
            self._news[self.metric] = f"{self.metric} {measured:.4f}"
            self._tell(state)
        self.progress.update(self._task, news=" ".join(filter(None, self._news.values())))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 60 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
