"""Distiller: check, train teacher, student and control, measure, report. What a Python user calls."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainingArguments

from textkd import report
from textkd.errors import fail
from textkd.experiment import checks, describe, fingerprint
from textkd.experiment.collect_results import Finished, Result, gather
from textkd.experiment.finetune import LABELS_ONLY, Finetune, without_teacher
from textkd.experiment.same_steps import same_steps
from textkd.experiment.storage import RunFolder
from textkd.models import loading
from textkd.models.forward import forward_inputs, positions
from textkd.models.processes import locked, processes
from textkd.models.randomness import random_from
from textkd.objective.match import Match
from textkd.objective.pair import Pair
from textkd.tasks import Task
from textkd.teachers import CacheOptions, LiveOptions
from textkd.teachers.frozen import FrozenModel
from textkd.teachers.generation.pseudo_labels import Pseudo, is_reader, targets_of
from textkd.training.arguments import given_arguments
from textkd.training.cache_filling import fill_stages
from textkd.training.stages import Data, Stage, run_stages

log = logging.getLogger("textkd")


class Distiller:
    """Distils `teacher` into `student` on `task` and reports honestly.

    teacher: a PreTrainedModel, or a function that makes one. student: a PreTrainedModel or ``f(teacher, seed)``. task:
    of `textkd.tasks`. matches: what is compared (`Match`), or stages: a list of `Stage`. args: TrainingArguments (those
    that differ from transformers' defaults count) or a dict of them; ``output_dir`` is the run folder. control: also
    train the same student, same init, data order and steps, without the teacher; a dict gives it arguments of its own
    (labels alone may want another learning rate or dropout than distillation), but never other steps. seeds: one run
    each; mean and spread are reported. tokenizer: of student and teacher; by default the teacher's folder has it.
    max_length: tokens per row; default 128, or fewer where a model has fewer positions. share_encoder: the student's
    encoder is the teacher's (encoder-decoders): it stays frozen, also in the control, and runs once for both. pseudo:
    the teacher writes the texts that the student learns (`Pseudo`); the control then trains on the transcribed lines
    alone, for as many steps. A teacher that only reads (`textkd.Recogniser`) needs it, and can match labels alone.
    cache: the teacher's taps of the training rows are computed once and read from disk from then on
    (docs/teacher-cache.md); a mapping holds the options of `textkd.teachers.CacheOptions`. live: the precision and the
    device that the teacher runs in and on.

    Raises `TextkdError` with every problem of the input before anything is trained or written.
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
        recipe: str = "",
    ) -> None:
        self.training = given_arguments(args)
        self.folder = RunFolder(Path(self.training.pop("output_dir", None) or f"runs/{name or 'distil'}"))
        self.seeds = [int(self.training.get("seed", 42))] if seeds is None else list(seeds)
        self.training.pop("seed", None)
        self.is_black_box = is_reader(teacher) or bool(getattr(teacher, "is_black_box", False))
        self.stages = list(stages) or [Stage(tuple(matches) or (LABELS_ONLY if self.is_black_box else ()))]
        self.task, self.control, self.given_max_length, self.finetune = task, control, max_length, finetune
        self.name, self.recipe = name or self.folder.path.name, recipe
        self.given_teacher, self.given_student, self.given_tokenizer = teacher, student, tokenizer
        self.has_stages, self.is_doubled = bool(stages), bool(matches) and bool(stages)
        self.share_encoder, self.pseudo = share_encoder, pseudo
        keep = self.folder.path.parent / "teachers" if finetune is None else finetune.keep
        self.targets = targets_of(pseudo, task, keep)
        self.cache = CacheOptions.of(cache)
        if self.cache is not None and self.cache.folder is None:
            self.cache = replace(self.cache, folder=str(keep / "taps"))
        self.live = live or LiveOptions()
        self._checked = False
        self.pairs: list[list[Pair]] = []
        self.warnings: list[str] = []

    @cached_property
    def teacher(self) -> Any:
        """The teacher as given, before any fine-tuning; a black box, where `is_black_box`."""
        return self.build_teacher(0)

    def build_teacher(self, seed: int) -> Any:
        """`teacher`, what of it starts random (a new head) drawn from `seed`."""
        given: Any = self.given_teacher
        with random_from(seed):
            return given if isinstance(given, nn.Module) or is_reader(given) else given()

    def sketched_teacher(self) -> Any:
        """The teacher for checks beside a task that cannot be read, as far as it can be known: else None."""
        sketch = getattr(self.given_teacher, "sketch", None)
        return self.teacher if sketch is None else sketch()

    def build_student(self, teacher: nn.Module, seed: int) -> nn.Module:
        """The student of `seed` before training: the same for the distilled student and its control."""
        given = self.given_student
        with random_from(seed):
            return loading.clone(given) if isinstance(given, nn.Module) else given(teacher, seed)

    def models(self) -> list[Any]:
        """Teacher and student as they begin; the student alone where the teacher only reads."""
        student = self.build_student(self.teacher, self.seeds[0])
        return [student] if self.is_black_box else [self.teacher, student]

    @cached_property
    def tokenizer(self) -> Any:
        path = self.models()[0].name_or_path if self.is_black_box else self.teacher.name_or_path
        own = self.given_tokenizer
        return own or (loading.load_tokenizer(path) if self.task is None else self.task.processing(path))

    @cached_property
    def data(self) -> Data:
        """The encoded task; its columns are the union of what teacher and student take. Of lines that somebody else
        reads, those with a transcription: what a teacher and the control train on."""
        task, bare = self.task, self.targets is not None and not self.targets.own
        encoded: dict[str, Any] = {
            split: [] if bare and split == "train" else task.encoded(self.tokenizer, split, *self._room)
            for split in ("train", *task.eval_splits)
        }
        collator = task.collator(self.tokenizer, self.models()[0])
        evaluation = task.output.evaluation(collator, encoded["eval"])
        main = {split: encoded.pop(split) for split in ("train", "eval")}
        extra = {split.removeprefix("eval_"): rows for split, rows in encoded.items()}
        return Data(
            **main, extra=extra, collator=collator, **evaluation._asdict(), problem_type=task.output.problem_type,
            main_metric=task.output.main_metric, greater_is_better=task.output.greater_is_better,
            processing_class=self.tokenizer,
        )  # fmt: skip

    @cached_property
    def _room(self) -> tuple[frozenset[str], int]:
        """The columns that the models take, and how many tokens a row may have."""
        models = self.models()
        length = self.given_max_length or min(self.task.default_length, *map(positions, models))
        return frozenset().union(*map(forward_inputs, models)), length

    def check(self) -> None:
        """Raises one `TextkdError` with every problem of data, models, matches and arguments. Writes nothing."""
        if not self._checked:
            with random_from(0):
                self.pairs = checks.check(self)
            self._checked = True

    @cached_property
    def fingerprint(self) -> str:
        """What makes this run this run; a folder of another one is refused."""
        return fingerprint.fingerprint(self)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """A hash of each thing that the run is made from: a folder of a run on others is refused, too."""
        return fingerprint.inputs(self)

    def plan(self) -> list[str]:
        """What `run` will do, a line each."""
        return describe.plan(self)

    def describe(self, role: str) -> str:
        """One line on what a model of the report is."""
        return describe.describe(self, role)

    # -- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Trains what is not trained yet, measures, writes the report. Resumes a killed run; a finished one is read."""
        self.check()
        started = time.monotonic()
        with loading.quiet(), locked(self.folder.path):
            self.folder.claim(self.fingerprint, self.name, self.inputs)
            if not self.folder.is_finished:
                finished = [self._seed(seed) for seed in self.seeds]
                if processes().is_main_process:
                    gather(self, finished, time.monotonic() - started, self.pairs)
                processes().wait_for_everyone()
            return self.result()

    def fill_cache(self) -> list[dict[str, Any]]:
        """Fills the teacher's cache over the training rows, without training a student; a teacher that is fine-tuned
        is made first. One dict per stage and teacher, as `methods.caching.fill` returns it."""
        self.check()
        if self.cache is None:
            raise fail("a teacher cache", "the teacher has none", fix="teacher.cache=true", where="teacher.cache")
        told = []
        own_seeds = self.finetune is not None and "seed" not in self.finetune.training
        with loading.quiet():
            for seed in self.seeds if own_seeds else self.seeds[:1]:
                tutor = self.teacher if self.finetune is None else self._finished_teacher(seed).load()
                data, _ = self._student_data(tutor)
                student = self.build_student(tutor, seed)
                told += fill_stages({"student": student}, {"teacher": self._frozen(tutor)}, self.stages, data,
                                    self.training, self.share_encoder)  # fmt: skip
        return told

    def result(self) -> Result:
        page = report.build(self.folder.path)
        summary = json.loads((self.folder.path / "report.json").read_text())
        metrics = {who: summary[who]["metrics"] for who in ("teacher", "student", "control") if who in summary}
        return Result(metrics, page, self.folder.model("student", self.seeds[0]), summary)

    def _seed(self, seed: int) -> dict[str, Finished]:
        teacher = self._finished_teacher(seed)
        student = self._train(self.folder.model("student", seed), teacher.load, self.stages, seed, "student")
        done = {"teacher": teacher, "student": student}
        if self.control:
            # the same stages, so the same steps, but no teacher and nothing is frozen
            own = self.control if isinstance(self.control, Mapping) else {}
            fused = any(match.fused for stage in self.stages for match in stage.matches)
            stages = [
                Stage(without_teacher(stage.matches, fused), {**stage.training, **own}, name=stage.name)
                for stage in self.stages
            ]
            if self.targets is not None:
                stages = same_steps(stages, student.record, self.training)
            done["control"] = self._train(self.folder.model("control", seed), teacher.load, stages, seed, "control")
        return done

    def _finished_teacher(self, seed: int) -> Finished:
        if self.is_black_box:
            assert self.targets is not None
            return Finished.reading(self.teacher, self.targets.evaluated(self.teacher), self.data, self.task)
        if self.finetune is None:
            return Finished.given(self.teacher, self.data, self.task)
        folder = self.finetune.folder(seed)
        with locked(folder, wait=True):
            known = Finished.read(folder, self.task)
            if known is not None:
                log.info("teacher: %s is there already, from an earlier run", folder)
                return known.complete(self.data, self.task)
            return self._train(folder, None, self.finetune.stages, self.finetune.seed(seed), "teacher")

    def _train(
        self, folder: Path, teacher: Callable[[], nn.Module] | None, stages: Sequence[Stage], seed: int, role: str
    ) -> Finished:
        """One model from its start to its folder; a folder that is there already is read."""
        known = Finished.read(folder, self.task)
        work = folder.with_name(f"{folder.name}.work")
        if known is not None:
            if processes().is_main_process:
                shutil.rmtree(work, ignore_errors=True)  # left by a kill between publishing and tidying up
            return known.complete(self.data, self.task)
        tutor = None if teacher is None else teacher()
        model = loading.clone(self.build_teacher(seed)) if tutor is None else self.build_student(tutor, seed)
        label = f"{role}, seed {seed}" if len(self.seeds) > 1 else role
        training = {} if role == "teacher" else self.training
        data, told = self._student_data(tutor) if role == "student" else (self.data, {})
        with report.PeakMemory(processes().device) as memory:
            asked = tutor if role == "student" and not self.is_black_box else None
            shares = self.share_encoder and role != "teacher"
            read = {} if asked is None else {"teacher": self._frozen(asked)}
            trained = run_stages(work, {"student": model}, read, stages, data, training, seed, label, shares)
        record = {**vars(trained), "peak_mb": memory.mb, "seed": seed, **told}
        if processes().is_main_process:
            Finished.publish(folder, model, record, self.tokenizer, self.data, self.task)
            shutil.rmtree(work, ignore_errors=True)
        processes().wait_for_everyone()
        done = Finished.read(folder, self.task)
        assert done is not None
        return done

    def _frozen(self, model: nn.Module) -> FrozenModel:
        return FrozenModel(model, self.cache, self.live)

    def _student_data(self, tutor: Any) -> tuple[Data, dict[str, Any]]:
        """What the student trains on, and what the report tells of it."""
        if self.targets is None:
            return self.data, {}
        rows, told = self.targets.rows(tutor, self.tokenizer, *self._room)
        return replace(self.data, train=rows), {"targets": told}
