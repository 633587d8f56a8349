"""Stages: models through a list of trainings, each with its own matches, frozen parts and arguments.

A training without a teacher (fine-tuning, the control) is a list of stages whose only match is `labels`. Every stage
ends in a folder that appears whole or not at all, so that a killed run goes on where it was: a finished stage is read,
an unfinished one resumes from its last complete checkpoint.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from torch import Tensor, nn

from textkd.models.files import saving, write_json
from textkd.models.processes import processes
from textkd.models.sums import write_sums
from textkd.objective import projections
from textkd.objective.match import Match
from textkd.tasks.metrics.directions import falls
from textkd.teachers.frozen import FrozenModel
from textkd.teachers.unchanged import unchanged
from textkd.training import fsdp
from textkd.training.agreement import agreements
from textkd.training.arguments import make_arguments
from textkd.training.cache_filling import fill_all, note, read_as
from textkd.training.callbacks import Bar, StopOnSignal
from textkd.training.checkpoints import last_checkpoint, read_stage, refuse_lost, remove_incomplete, resuming
from textkd.training.dropout import dropout
from textkd.training.ema import Average
from textkd.training.environment import kept_environment
from textkd.training.freezing import frozen, idle_parts
from textkd.training.learners import join
from textkd.training.loss_log import history
from textkd.training.on_grid import on_grid
from textkd.training.several import metrics_of_all, weights_in
from textkd.training.trainer import TOGETHER, DistilTrainer
from textkd.training.wiring import Reading, Wiring, wire


@dataclass(frozen=True)
class Stage:
    """One training of the models that learn.

    Args:
        matches: what is compared.
        training: arguments that differ from the run's.
        frozen: dotted module names whose parameters stay as they are; of several models behind the model's name, as
            ``peer_1.bert.embeddings``.
        name: for the progress bar.
        quantised: names of models that compute on the int8 grid of their later export in it (``student``).

    Example:
        >>> from textkd import Match
        >>> first = Stage([Match("hidden")], {"num_train_epochs": 1}, frozen=["bert.embeddings"], name="blocks")
        >>> second = Stage([Match("logits", temperature=2)])
    """

    matches: Sequence[Match]
    training: Mapping[str, Any] = field(default_factory=dict)
    frozen: Sequence[str] = ()
    name: str = ""
    quantised: Sequence[str] = field(default=(), repr=False)  # told apart by experiment/fingerprint.py


@dataclass(frozen=True)
class Data:
    """What a task gives to a training: encoded rows, collator, metrics (of logits; of ids, where answers are generated:
    `generate` makes those of a batch). extra: further evaluation rows by name, which the finished models see alone."""

    train: Any
    eval: Any
    collator: Callable[[list[Any]], dict[str, Tensor]]
    compute_metrics: Callable[[Any, Any], dict[str, float]]
    label_loss: str
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
    models: Mapping[str, nn.Module],
    frozen_models: Mapping[str, FrozenModel],
    stages: Sequence[Stage],
    data: Data,
    training: Mapping[str, Any],
    seed: int,
    label: str,
    share_encoder: bool = False,
    update: str = TOGETHER,
) -> Trained:
    """Trains `models` in place through all `stages`, resuming from what `work` holds.

    Args:
        work: the folder of the training's checkpoints.
        models: those that learn, by name.
        frozen_models: those that are only read, by name.
        stages: one after the other.
        data: what they learn from.
        training: arguments of all stages.
        seed: of data order, dropout and projections.
        label: what the progress bar says.
        share_encoder: the encoder of the one model that learns is that of the one that is read: it is frozen, without
            dropout, and runs once for both.
        update: as in `DistilTrainer`.

    Raises:
        KeyboardInterrupt: after a signal, with the state saved.
    """
    total = Trained()
    for number, stage in enumerate(stages, 1):
        arguments = {**training, **stage.training}
        run = _Run(work, number, models, frozen_models, stage, data, arguments, seed, share_encoder, update)
        title = f"{label}, {stage.name or f'stage {number}'}" if len(stages) > 1 else label
        trained = run.finished()
        if trained is None and fsdp.asked(arguments.get("fsdp")):
            twins = copy.deepcopy(dict(models))  # shards cannot be put together again in place
            replace(run, models=twins).train(title)
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
    models: Mapping[str, nn.Module]
    frozen_models: Mapping[str, FrozenModel]
    stage: Stage
    data: Data
    training: Mapping[str, Any]
    seed: int
    share_encoder: bool = False
    update: str = TOGETHER

    @property
    def folder(self) -> Path:
        return self.work / f"stage-{self.number}"

    def finished(self) -> Trained | None:
        """A finished stage's record, its weights loaded into the models; None if the stage has not ended."""
        processes().wait_for_everyone()
        final = self.folder / "final"
        told = read_stage(final, {one.name for one in fields(Trained)})
        if told is None:
            return None
        self._load(final)
        return Trained(**told)

    @kept_environment()
    def train(self, title: str) -> Trained:
        arguments = make_arguments(self._training(), self.folder, seed=self.seed)
        # projections: the same whether the stages before ran now or earlier
        set_seed((self.seed * 1000 + self.number) % 2**32)
        wiring = self._wire(arguments)
        for before in range(1, self.number):  # once more, for projections that earlier stages have trained
            self._load(self.work / f"stage-{before}" / "final")
        remove_incomplete(self.folder)
        with ExitStack() as stack:
            for model in self.models.values():
                stack.callback(projections.detach, model)
            stack.callback(wiring.close)
            notes = self._fill(wiring, title, arguments.per_device_train_batch_size)
            notes += stack.enter_context(on_grid(self.models, self.stage.quantised))
            idle = idle_parts(self.models, wiring.objective.uses_head, self.share_encoder)
            stack.enter_context(frozen(wiring.learners.module, self.stage.frozen, idle))
            stack.enter_context(dropout(wiring.learners.module, self.training.get("dropout")))
            for model in self.models.values() if self.share_encoder else ():
                stack.enter_context(dropout(model.get_submodule("encoder"), 0.0))
            stop = stack.enter_context(StopOnSignal())
            bar = stack.enter_context(Bar(title, self.data.main_metric))
            rate, checkpoint = self.training.get("average"), last_checkpoint(self.folder)
            average = Average(wiring.learners.module, rate, checkpoint) if rate else None
            trainer = self._trainer(wiring, arguments, average, [bar, stop])
            fsdp.refuse_other_kind(checkpoint, trainer.is_fsdp_enabled)
            with unchanged({name: one.model for name, one in self.frozen_models.items()}), resuming(checkpoint):
                trainer.train(resume_from_checkpoint=checkpoint)
            if trainer.state.global_step < trainer.state.max_steps:
                raise KeyboardInterrupt
            if average is not None:
                if arguments.load_best_model_at_end and trainer.state.best_model_checkpoint:
                    average.load(trainer.state.best_model_checkpoint)  # what was evaluated there
                average.take_over()
            rows = history(trainer.state.log_history, [pair.name for pair in wiring.objective.pairs], self.number)
            trained = Trained(trainer.state.global_step, trainer.seconds(), rows, notes=notes)
            self._publish(trainer, trained)
            if stop.fired is not None:
                raise KeyboardInterrupt
        return trained

    def _wire(self, arguments: Any) -> Wiring:
        """The step of this stage, all models on their devices."""
        join(self.models).to(arguments.device)
        reading = {name: self._reading(one, arguments) for name, one in self.frozen_models.items()}
        for name, one in self.frozen_models.items():
            if not reading[name].sharded:
                one.model.to(one.live.place(arguments.device))
        read = {name: one.model for name, one in self.frozen_models.items()}
        return wire(self.models, read, self.stage.matches, self.data.sample(), self.data.label_loss,
                    share_encoder=self.share_encoder, rows=len(self.data.train), reading=reading)  # fmt: skip

    def _trainer(self, wiring: Wiring, arguments: Any, average: Average | None, callbacks: list[Any]) -> DistilTrainer:
        data, judge = self.data, self.data.compute_metrics
        if len(self.models) > 1:
            judge = metrics_of_all(list(self.models), judge)
        trainer = DistilTrainer(
            wiring.learners.module, arguments, train_dataset=data.train, eval_dataset=data.eval,
            data_collator=data.collator, compute_metrics=lambda p: judge(p.predictions, p.label_ids),
            processing_class=data.processing_class, wiring=wiring, generate=data.generate, average=average,
            update=self.update, callbacks=callbacks,
        )  # fmt: skip
        trainer.keep_events(self.work.with_name(f"{self.work.stem}.logs") / self.folder.name)
        return trainer

    def _reading(self, one: FrozenModel, arguments: Any) -> Reading:
        sharded = one.live.sharded and arguments.world_size > 1
        return read_as(arguments, one, sharded)

    def _fill(self, wiring: Wiring, title: str, batch_size: int) -> list[str]:
        """Fills the caches of the teachers; how near those in int8 are and what it took, for the report."""
        stage, reads = self.stage.name or f"stage {self.number}", wiring.reads()
        notes = agreements(self.frozen_models, reads, self.data, batch_size)
        for name, told in fill_all(wiring.frozen, self.data, batch_size, title).items():
            whose = f"{stage}, {name}" if len(self.frozen_models) > 1 else stage
            notes.append(f"{whose}, {note(told)}")
        return notes

    def _load(self, folder: Path) -> None:
        """Every weight of the models from `folder`; projections as far as both have them."""
        for name, model in self.models.items():
            place = folder if len(self.models) == 1 else folder / name
            result = model.load_state_dict(weights_in(place), strict=False)
            refuse_lost(model, result, str(place), but=(projections.ATTRIBUTE,))

    def _training(self) -> dict[str, Any]:
        """Trainer's own idea of the best model is the lowest loss; ours is the task's main metric."""
        given, data = dict(self.training), self.data
        if given.get("load_best_model_at_end") or given.get("save_strategy") == "best":
            metric = str(given.get("metric_for_best_model") or data.main_metric).removeprefix("eval_")
            rises = data.greater_is_better if metric == data.main_metric else not falls(metric)
            told = given.get("greater_is_better")
            given |= {"metric_for_best_model": metric, "greater_is_better": rises if told is None else told}
        # where texts are written, batches of equally long ones save nothing, and models hardly learn from them
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
                write_sums(part)
        if trainer.args.should_save:
            os.replace(part, final)
            for checkpoint in self.folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint, ignore_errors=True)
        processes().wait_for_everyone()
