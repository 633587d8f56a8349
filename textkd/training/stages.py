"""Stages: one student through a list of trainings, each with its own matches, frozen parts and arguments.

A training without a teacher (fine-tuning, the control) is a list of stages whose only match is `labels`. Every stage
ends in a folder that appears whole or not at all, so that a killed run goes on where it was: a finished stage is read,
an unfinished one resumes from its last complete checkpoint.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from safetensors.torch import load_file
from torch import Tensor, nn

from textkd.models.files import saving, write_json
from textkd.models.processes import processes
from textkd.objective import projections
from textkd.objective.match import Match
from textkd.tasks.metrics.directions import falls
from textkd.teachers import CachedTeacher, CacheOptions, LiveOptions
from textkd.training import fsdp
from textkd.training.arguments import make_arguments
from textkd.training.cache_filling import autocast, fill, note
from textkd.training.callbacks import Bar, StopOnSignal
from textkd.training.checkpoints import last_checkpoint, refuse_lost, remove_incomplete
from textkd.training.dropout import dropout
from textkd.training.ema import Average
from textkd.training.freezing import frozen, head_modules
from textkd.training.loss_log import history
from textkd.training.trainer import DistilTrainer
from textkd.training.wiring import wire


@dataclass(frozen=True)
class Stage:
    """One training of the student. training: arguments that differ from the run's. frozen: dotted module names whose
    parameters stay as they are."""

    matches: Sequence[Match]
    training: Mapping[str, Any] = field(default_factory=dict)
    frozen: Sequence[str] = ()
    name: str = ""


@dataclass(frozen=True)
class Data:
    """What a task gives to a training: encoded rows, collator, metrics (of logits; of ids, where answers are generated:
    `generate` makes those of a batch). extra: further evaluation rows by name, which the finished models see alone."""

    train: Any
    eval: Any
    collator: Callable[[list[Any]], dict[str, Tensor]]
    compute_metrics: Callable[[Any, Any], dict[str, float]]
    problem_type: str
    main_metric: str
    greater_is_better: bool = True
    processing_class: Any = None
    generate: Callable[[nn.Module, dict[str, Tensor]], Tensor] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def sample(self, rows: int = 4) -> dict[str, Tensor]:
        """A small real batch to try taps on."""
        return self.collator([self.train[i] for i in range(min(rows, len(self.train)))])


@dataclass
class Trained:
    """What a training cost and how it went; `history` rows are those of `loss_log.history`. stage_steps: the
    optimizer steps of each of its stages. notes: what else it took, for the report."""

    steps: int = 0
    train_s: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    stage_steps: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_stages(
    work: Path,
    student: nn.Module,
    teacher: nn.Module | None,
    stages: Sequence[Stage],
    data: Data,
    training: Mapping[str, Any],
    seed: int,
    label: str,
    share_encoder: bool = False,
    cache: CacheOptions | None = None,
    live: LiveOptions | None = None,
) -> Trained:
    """Trains `student` in place through all `stages`, resuming from what `work` holds.

    seed: of data order, dropout and projections. share_encoder: the student's encoder is the teacher's: it is frozen,
    without dropout, and runs once for both. cache: the teacher's taps are computed before the training and read
    from disk in it. live: how it is run. Raises KeyboardInterrupt after a signal, with the state saved.
    """
    total = Trained()
    for number, stage in enumerate(stages, 1):
        arguments = {**training, **stage.training}
        run = _Run(work, number, student, teacher, stage, data, arguments, seed, share_encoder, cache,
                   live or LiveOptions())  # fmt: skip
        title = f"{label}, {stage.name or f'stage {number}'}" if len(stages) > 1 else label
        trained = run.finished()
        if trained is None and fsdp.asked(arguments.get("fsdp")):
            replace(run, student=copy.deepcopy(student)).train(title)  # shards cannot be put together again in place
            trained = run.finished()
        trained = trained or run.train(title)
        total.history += [{**row, "step": row["step"] + total.steps} for row in trained.history]
        total.steps += trained.steps
        total.stage_steps.append(trained.steps)
        total.notes += trained.notes
        total.train_s += trained.train_s
    return total


@dataclass
class _Run:
    """One stage on disk and in memory."""

    work: Path
    number: int
    student: nn.Module
    teacher: nn.Module | None
    stage: Stage
    data: Data
    training: Mapping[str, Any]
    seed: int
    share_encoder: bool = False
    cache: CacheOptions | None = None
    live: LiveOptions = field(default_factory=LiveOptions)

    @property
    def folder(self) -> Path:
        return self.work / f"stage-{self.number}"

    def finished(self) -> Trained | None:
        """A finished stage's record, its weights loaded into the student; None if the stage has not ended."""
        processes().wait_for_everyone()
        record = self.folder / "final" / "stage.json"
        if not record.is_file():
            return None
        _load(self.student, self.folder / "final")
        return Trained(**json.loads(record.read_text()))

    def train(self, title: str) -> Trained:
        arguments = make_arguments(self._training(), self.folder, seed=self.seed)
        set_seed(
            (self.seed * 1000 + self.number) % 2**32
        )  # projections: the same whether the stages before ran now or earlier
        self.student.to(arguments.device)
        sharded = self.live.sharded and arguments.world_size > 1
        if self.teacher is not None and not sharded:
            self.teacher.to(self.live.place(arguments.device))
        data = self.data
        wiring = wire(
            self.student, self.teacher, self.stage.matches, data.sample(), data.problem_type,
            autocast(arguments, self.live),
            self.share_encoder, len(data.train), self.cache, sharded,
        )  # fmt: skip
        for before in range(1, self.number):  # once more, for projections that earlier stages have trained
            _load(self.student, self.work / f"stage-{before}" / "final")
        remove_incomplete(self.folder)
        with ExitStack() as stack:
            stack.callback(projections.detach, self.student)
            stack.callback(wiring.close)
            notes = list[str]()
            if isinstance(wiring.teacher, CachedTeacher):
                told = fill(wiring.teacher, data, arguments.per_device_train_batch_size, title)
                notes.append(f"{self.stage.name or f'stage {self.number}'}, {note(told)}")
            shared = ["encoder"] if self.share_encoder else []
            # under DDP a parameter without a gradient would have to be searched for in every step
            head = [] if wiring.objective.uses_head else head_modules(self.student)
            stack.enter_context(frozen(self.student, self.stage.frozen, [*shared, *head]))
            stack.enter_context(dropout(self.student, self.training.get("dropout")))
            if self.share_encoder:
                stack.enter_context(dropout(self.student.get_submodule("encoder"), 0.0))
            stop = stack.enter_context(StopOnSignal())
            bar = stack.enter_context(Bar(title, data.main_metric))
            rate, checkpoint = self.training.get("average"), last_checkpoint(self.folder)
            average = Average(self.student, rate, checkpoint) if rate else None
            trainer = DistilTrainer(
                self.student, arguments, train_dataset=data.train, eval_dataset=data.eval, data_collator=data.collator,
                compute_metrics=lambda p: data.compute_metrics(p.predictions, p.label_ids),
                processing_class=data.processing_class, objective=wiring.objective, capture=wiring.capture,
                teacher=wiring.teacher, generate=data.generate, average=average, shared=wiring.shared,
                callbacks=[bar, stop],
            )  # fmt: skip
            trainer.keep_events(self.work.with_name(f"{self.work.stem}.logs") / self.folder.name)
            fsdp.refuse_other_kind(checkpoint, trainer.is_fsdp_enabled)
            trainer.train(resume_from_checkpoint=checkpoint)
            if trainer.state.global_step < trainer.state.max_steps:
                raise KeyboardInterrupt
            if average is not None:
                if arguments.load_best_model_at_end and trainer.state.best_model_checkpoint:
                    average.load(trainer.state.best_model_checkpoint)  # what was evaluated there
                average.take_over()
            names = [pair.name for pair in wiring.objective.pairs]
            rows = history(trainer.state.log_history, names, self.number)
            trained = Trained(trainer.state.global_step, trainer.seconds(), rows, notes=notes)
            self._publish(trainer, trained)
            if stop.fired is not None:
                raise KeyboardInterrupt
        return trained

    def _training(self) -> dict[str, Any]:
        """Trainer's own idea of the best model is the lowest loss; ours is the task's main metric."""
        given, data = dict(self.training), self.data
        if given.get("load_best_model_at_end") or given.get("save_strategy") == "best":
            metric = str(given.get("metric_for_best_model") or data.main_metric).removeprefix("eval_")
            rises = data.greater_is_better if metric == data.main_metric else not falls(metric)
            told = given.get("greater_is_better")
            given |= {"metric_for_best_model": metric, "greater_is_better": rises if told is None else told}
        # lines are images of one size: equally long texts in a batch save nothing, and recognisers hardly learn from it
        order = {} if data.generate is None else {"train_sampling_strategy": "random"}
        return {**order, **given}

    def _publish(self, trainer: DistilTrainer, trained: Trained) -> None:
        """The stage's weights appear under ``final`` in one rename; its checkpoints go."""
        part, final = self.folder / "final.part", self.folder / "final"
        trainer.refuse_not_finite()
        if trainer.args.should_save:
            shutil.rmtree(part, ignore_errors=True)
        with saving(part, partial(last_checkpoint, self.folder)):
            trainer.save_model(str(part))
            if trainer.args.should_save:
                write_json(part / "stage.json", asdict(trained))
        if trainer.args.should_save:
            os.replace(part, final)
            for checkpoint in self.folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint, ignore_errors=True)
        processes().wait_for_everyone()


def _load(student: nn.Module, folder: Path) -> None:
    """Every weight of the student from `folder`; projections as far as both have them."""
    weights = {
        name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()
    }
    result = student.load_state_dict(weights, strict=False)
    refuse_lost(student, result, str(folder), but=(projections.ATTRIBUTE,))
