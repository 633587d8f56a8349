"""Distiller: check, train teacher, student and control, measure, report. What a Python user calls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainingArguments

from textkd import report
from textkd.errors import Problem, fail
from textkd.experiment import artifacts, checks, describe, fingerprint
from textkd.experiment.collect_results import Bound, collect_results
from textkd.experiment.data import Rows
from textkd.experiment.finetune import LABELS_ONLY, Finetune
from textkd.experiment.models import Models
from textkd.experiment.plan import Experiment, Source
from textkd.experiment.run import Runner
from textkd.experiment.setup import Setup
from textkd.experiment.shorthand import Common, Teacher, classic
from textkd.experiment.storage import RunFolder, folder_of
from textkd.models import loading
from textkd.models.processes import locked, processes
from textkd.models.randomness import random_from
from textkd.objective.match import Match
from textkd.tasks import Task
from textkd.teachers import CacheOptions, LiveOptions
from textkd.teachers.generation.pseudo_labels import Pseudo, is_reader, targets_of
from textkd.training.arguments import given_arguments
from textkd.training.stages import Data, Stage


@dataclass(frozen=True)
class Result:
    """What a run ends in.

    Args:
        metrics: the task's metrics by the name of the model: means over the seeds.
        report: the path of report.html.
        student: the folder of the first seed's student.
        summary: what report.json holds (`textkd.report.summary`).
    """

    metrics: dict[str, dict[str, float]]
    report: Path
    student: Path
    summary: dict[str, Any]


class Run:
    """An experiment in a folder: looked at, run, told.

    Args:
        experiment: what to run.
        folder: of the run; results, models and the report go there.
        tokenizer: of all models; None: that of the first model's folder.
        max_length: tokens per row; None: the task's, or fewer where a model has fewer positions.
        pseudo: how a teacher writes texts, where it does.
        is_doubled: somebody gave matches and stages.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: str | Path,
        tokenizer: Any = None,
        max_length: int | None = None,
        pseudo: Pseudo | None = None,
        is_doubled: bool = False,
    ) -> None:
        models = Models(experiment)
        rows = Rows(experiment, models, tokenizer, max_length)
        self.experiment, self.folder = experiment, RunFolder(Path(folder))
        self.setup = Setup(experiment, self.folder, models, rows, pseudo, is_doubled)
        self.runner = Runner(self.setup)
        self.bound: list[Bound] | None = None

    @property
    def name(self) -> str:
        """The name of the experiment, for the report."""
        return self.experiment.name

    @property
    def task(self) -> Task:
        """The task that is learnt."""
        return self.experiment.task

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds; each has a training of its own."""
        return self.experiment.seeds

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences that the report tells beside its figures."""
        return self.experiment.warnings

    @property
    def data(self) -> Data:
        """The task as a training takes it: encoded rows, collator, metrics."""
        return self.setup.rows.data

    def start(self, model: str) -> Any:
        """A model before any training, made from others before theirs: to look at, never to train.

        Args:
            model: its name in the experiment.

        Returns:
            The model as the first seed of the run makes it; the same one in every call.
        """
        return self.setup.models.start(model)

    @property
    def fingerprint(self) -> str:
        """What makes this run this run; a folder of another one is refused."""
        return fingerprint.fingerprint(self.setup)

    @property
    def inputs(self) -> dict[str, str]:
        """A hash of each thing that the run is made from: a folder of a run on others is refused, too."""
        return fingerprint.inputs(self.setup)

    def check(self, known: Sequence[Problem] = ()) -> None:
        """Looks at data, models, matches and arguments. Writes nothing.

        Args:
            known: problems found before; what they concern is not looked at again.

        Raises:
            TextkdError: with every problem at once.
        """
        if self.bound is None:
            with random_from(0):
                self.bound = checks.check(self.setup, known)

    def plan(self) -> list[str]:
        """What `run` will do.

        Returns:
            Sentences, a line each.
        """
        return describe.plan(self.setup, self.runner)

    def run(self) -> Result:
        """Trains what is not trained yet, measures, writes the report. Resumes a killed run; a finished one is read.

        Returns:
            The metrics, and where the report and the student are.

        Raises:
            TextkdError: from `check`.
            KeyboardInterrupt: after a signal, with the state saved.
        """
        self.check()
        started = time.monotonic()
        with loading.quiet(), locked(self.folder.path):
            self.setup.settle()
            self.folder.claim(self.fingerprint, self.name, self.inputs, fingerprint.told(self.setup))
            if not self.folder.is_finished or artifacts.is_wanting(self.setup):
                finished = self.runner.run()
                if processes().is_main_process:
                    shipped = artifacts.ship(self.setup, finished[0])
                    seconds = time.monotonic() - started
                    collect_results(self.setup, finished, shipped, seconds, self.bound or [])
                    artifacts.note(self.setup, shipped)
                processes().wait_for_everyone()
            self.runner.tell_lost()
            return self.result()

    def fill_cache(self) -> list[dict[str, Any]]:
        """Fills the teachers' caches over the training rows, without training a student.

        Teachers that are fine-tuned are made first.

        Returns:
            One dict per stage and teacher.

        Raises:
            TextkdError: from `check`, and where no teacher has a cache.
        """
        self.check()
        if not any(spec.cache for spec in self.experiment.models.values()):
            raise fail("a teacher cache", "the teacher has none", fix="teacher.cache=true", where="teacher.cache")
        with loading.quiet():
            return self.runner.fill_caches()

    def result(self) -> Result:
        """The result of a finished run; its report is written anew.

        Returns:
            The metrics, and where the report and the student are.

        Raises:
            TextkdError: the run is not finished, or its results.json is damaged.
        """
        page = report.build(self.folder.path)
        summary = json.loads((self.folder.path / "report.json").read_text())
        student = self.experiment.report.student
        metrics = {name: one["metrics"] for name, one in summary["models"].items()}
        return Result(metrics, page, self.folder.model(student, self.seeds[0]), summary)


class Distiller(Run):
    """Distils `teacher` into `student` on `task` and reports honestly.

    Args:
        teacher: a PreTrainedModel, or a function that makes one.
        student: a PreTrainedModel, or ``f(teacher, seed)``.
        task: of `textkd.tasks`, or one of your own (docs/tasks.md).
        matches: what is compared (`Match`).
        args: TrainingArguments (those that differ from transformers' defaults count) or a dict of them;
            ``output_dir`` is the run folder.
        stages: a list of `Stage` in place of `matches`.
        control: also train the same student, same init, data order and steps, without the teacher; a dict gives it
            arguments of its own (labels alone may want another learning rate than distillation), but never other steps;
            ``frozen`` among them names modules that it leaves as they are (what stages freeze is the student's alone).
        seeds: one run each; mean and spread are reported.
        tokenizer: of student and teacher; by default the teacher's folder has it.
        max_length: tokens per row; default 128, or fewer where a model has fewer positions.
        share_encoder: the student's encoder is the teacher's (encoder-decoders): it stays frozen, also in the control,
            and runs once for both.
        pseudo: the teacher writes the texts that the student learns (`Pseudo`); the control then trains on the
            transcribed lines alone, for as many steps. A teacher that only reads (`textkd.Recogniser`) needs it, and
            can match labels alone.
        finetune: the teacher is trained on the task first.
        cache: the teacher's taps of the training rows are computed once and read from disk from then on
            (docs/teacher-cache.md); a mapping holds the options of `textkd.teachers.CacheOptions`.
        live: the precision and the device that the teacher runs in and on.
        name: of the run, for the report.

    Raises:
        TextkdError: at once for a seed beside seeds; from `check` and `run`, with every problem of the input before
            anything is trained or written.
    """

    def __init__(
        self,
        teacher: nn.Module | Callable[[], nn.Module],
        student: nn.Module | Callable[[nn.Module, int], nn.Module],
        task: Task,
        matches: Sequence[Match] = (),
        args: TrainingArguments | Mapping[str, Any] | None = None,
        *,
        stages: Sequence[Stage] = (),
        control: bool | Mapping[str, Any] = True,
        seeds: Sequence[int] | None = None,
        tokenizer: Any = None,
        max_length: int | None = None,
        share_encoder: bool = False,
        pseudo: Pseudo | None = None,
        finetune: Finetune | None = None,
        cache: bool | Mapping[str, Any] | None = None,
        live: LiveOptions | None = None,
        name: str = "",
    ) -> None:
        training = given_arguments(args)
        folder = RunFolder(folder_of(training.pop("output_dir", None), f"runs/{name or 'distil'}"))
        if seeds is not None and "seed" in training:
            found = f"every seed of seeds: {list(seeds)} makes a run of its own"
            raise fail(f"seed={training['seed']} of args beside seeds", found, fix=f"seeds=[{training['seed']}]")
        own_seed = training.pop("seed", 42)
        reader = is_reader(teacher)
        keep = folder.path.parent / "teachers" if finetune is None else finetune.keep
        targets = targets_of(pseudo, task, keep)
        made = list(stages) or [Stage(tuple(matches) or (LABELS_ONLY if reader else ()))]
        common = Common(
            name or folder.path.name, task, training, tuple(made), bool(stages), control,
            tuple(seeds) if seeds is not None else (own_seed,),
        )  # fmt: skip
        taught = Teacher(_given(teacher), finetune, reader, _cache(cache, keep), live or LiveOptions())
        experiment = classic(
            common, {"teacher": taught}, _student(student), targets=targets, share_encoder=share_encoder
        )
        super().__init__(experiment, folder.path, tokenizer, max_length, pseudo, bool(matches) and bool(stages))


def _cache(given: bool | Mapping[str, Any] | None, keep: Path) -> CacheOptions | None:
    options = CacheOptions.of(given)
    return options if options is None or options.folder else replace(options, folder=str(keep / "taps"))


def _given(teacher: Any) -> Source:
    """A model that somebody made, or a function that makes one."""
    if isinstance(teacher, nn.Module) or is_reader(teacher):
        return Source(lambda models, seed: teacher, is_given=True)
    return Source(lambda models, seed: teacher(), kind="made by a function", told=teacher)


def _student(student: Any) -> Source:
    if isinstance(student, nn.Module):
        return Source(lambda models, seed: student, is_given=True)
    return Source(
        lambda models, seed: student(models["teacher"], seed), ("teacher",), kind="made of teacher", told=student
    )
